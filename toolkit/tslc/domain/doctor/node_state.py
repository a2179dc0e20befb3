"""Whether a node that should be up is: its keeper, its programs, and what it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tslc.domain.doctor.finding import Finding, fault, not_applicable, ok, warning, worst
from tslc.domain.release.report import NodeReport, Phase
from tslc.domain.release.state import EnvironmentState
from tslc.domain.served import ServedVersion
from tslc.domain.supervised import AGENT, ProgramStatus

# The agent writes its report every 10 s, after whatever it does meanwhile.
SILENT_SECONDS = 60.0
# Each restart that counts is a death within ten seconds, or one long ago: a few say nothing.
MANY_RESTARTS = 5


@dataclass(frozen=True)
class NodeFacts:
    """`exists`: `tslc up` was run for it once; `up`: and `tslc down` was not since. `ports`: those
    that are not the default ones, by the flag that sets them."""

    name: str
    folder: str
    exists: bool = False
    up: bool = False
    supervised: bool = False
    programs: Sequence[ProgramStatus] = ()
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def named(self) -> str:
        return "" if self.name == "default" else f" --name {self.name}"

    @property
    def start(self) -> str:
        """`tslc up` as it starts this node: it knows nothing of one whose programs are all gone."""
        return " ".join(
            [f"tslc up{self.named}", *(f"{f} {port}" for f, port in self.ports.items())]
        )

    def program(self, name: str) -> ProgramStatus | None:
        return next((one for one in self.programs if one.name == name), None)


def judge_node(node: NodeFacts) -> Finding:
    """Whether its programs run and are kept running."""
    if not node.up:
        said = f"node '{node.name}' is down" if node.exists else f"there is no node '{node.name}'"
        return not_applicable(f"{said}; `{node.start}` starts one")
    found = [_judge_program(node, one) for one in node.programs]
    if not node.supervised:
        said = "supervisord does not run: a program that dies is not started again"
        found.append(fault(said, f"{node.start}   # it takes over what runs"))
    names = ", ".join(one.name for one in node.programs)
    return worst([*found, ok(f"node '{node.name}' is up: {names}")])


def _judge_program(node: NodeFacts, one: ProgramStatus) -> Finding:
    log = f"less {node.folder}/logs/{'console' if one.name == 'torchserve' else one.name}.log"
    if not one.running:
        return fault(f"{one.name} does not run", f"{node.start}   # its words: {log}")
    if one.restarts >= MANY_RESTARTS:
        return warning(f"{one.name} was started again {one.restarts} times", log)
    return ok(f"{one.name} runs")


def judge_torchserve_answer(problem: str | None, models: int, node: NodeFacts) -> Finding:
    """`problem` None: it answered, with the keys it wrote."""
    if problem is not None:
        fix = f"{node.start}   # its words: less {node.folder}/logs/ts_log.log"
        return fault(problem, fix)
    return ok(f"TorchServe answers; {models} model{'' if models == 1 else 's'}")


@dataclass(frozen=True)
class RouterFacts:
    """`problem`: what Envoy refused, or why it does not answer."""

    address: str
    reachable: bool
    listening: bool
    problem: str = ""


def judge_router(router: RouterFacts | None, node: NodeFacts) -> Finding:
    if router is None:
        return not_applicable("the node was started without a router")
    log = f"less {node.folder}/router/envoy.log"
    if not router.reachable or not router.listening:
        said = router.problem or f"nobody can connect to {router.address}"
        return fault(f"the router does not answer: {said}", f"{node.start}   # {log}")
    if router.problem:
        return fault(f"the router refused its configuration: {router.problem}", log)
    return ok(f"{router.address} answers")


@dataclass(frozen=True)
class AgentFacts:
    """`report`: what it wrote last, `age` seconds ago; None when it never did."""

    report: NodeReport | None = None
    age: float = 0.0


def judge_agent(agent: AgentFacts, node: NodeFacts) -> Finding:
    program = node.program(AGENT)
    if program is None:
        return not_applicable("the node was started without an agent: nothing follows the store")
    log = f"less {node.folder}/logs/agent.log"
    if not program.running:
        return fault("the agent does not run", f"{node.start}   # its words: {log}")
    if agent.report is None:
        return warning("the agent has reported nothing yet", log)
    if agent.age > SILENT_SECONDS:
        pid = program.run.pid if program.run else "PID"
        said = f"the agent has reported nothing for {agent.age:.0f} s: it hangs"
        return fault(said, f"kill -9 {pid}   # it is started again, and goes on; {log}")
    if agent.report.problems:
        return warning("; ".join(agent.report.problems), log)
    return ok(f"reported {agent.age:.0f} s ago, generation {agent.report.generation}")


@dataclass(frozen=True)
class VersionFacts:
    """`wanted`: what the store says, or the agent read last; None when neither is known. `served`:
    what the workers answer."""

    environment: str
    wanted: EnvironmentState | None = None
    report: NodeReport | None = None
    served: Sequence[ServedVersion] = ()
    by_agent: bool = True
    why_not: str = ""


def judge_versions(facts: VersionFacts, node: NodeFacts) -> Finding:
    if not facts.by_agent:
        return _judge_served(facts.served, node)
    if facts.wanted is None:
        return not_applicable(f"what {facts.environment} wants is not known ({facts.why_not})")
    status = f"tslc status --env {facts.environment}"
    if facts.report is None:
        return warning("the node has not told what it serves", status)
    if facts.report.environment != facts.environment:
        said = f"the node serves {facts.report.environment}, not {facts.environment}"
        return warning(said, f"tslc doctor --env {facts.report.environment}")
    if not facts.wanted.models:
        return ok(f"{facts.environment} wants no version")
    found = [
        _judge_wanted(facts.report, facts.environment, model, version)
        for model, state in facts.wanted.models.items()
        for version in state.versions
    ]
    if facts.report.generation < facts.wanted.generation:
        behind = f"at generation {facts.report.generation} of {facts.wanted.generation}"
        found.append(warning(behind, f"{status} --watch"))
    return worst(found)


def _judge_wanted(report: NodeReport, environment: str, model: str, version: str) -> Finding:
    named, status = f"{model} {version}", f"tslc status --env {environment}"
    told = report.models.get(model)
    seen = told.versions.get(version) if told else None
    if seen is None:
        return warning(f"{named} is wanted, and the node does not know it yet", status)
    why = f": {seen.reason}" if seen.reason else ""
    if seen.phase is Phase.FAILED:
        return fault(
            f"{named} failed{why}", f"{status} && tslc rollback {model} --env {environment}"
        )
    if seen.phase is not Phase.READY:
        return warning(f"{named} is {seen.phase}{why}", f"{status} --watch")
    return ok(f"{named} is ready")


def _judge_served(served: Sequence[ServedVersion], node: NodeFacts) -> Finding:
    if not served:
        return ok("no version is registered")
    log = f"tslc status{node.named}   # the worker's words: less {node.folder}/logs/model_log.log"
    return worst(
        ok(f"{one.model} {one.version} is ready")
        if one.ready
        else fault(f"{one.model} {one.version} is not ready: {one.why_not}", log)
        for one in served
    )
