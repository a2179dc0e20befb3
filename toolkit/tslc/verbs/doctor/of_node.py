"""The checks of a node: its ports, its programs, and whether it serves what is wanted."""

from __future__ import annotations

from tslc.adapters import node_folder, seaweedfs, supervisor
from tslc.adapters.agent_folder import AgentFolder
from tslc.adapters.clock import now
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.loopback_ports import holder, holder_pid, is_free
from tslc.adapters.node_processes import node_processes
from tslc.domain.doctor.finding import Finding, not_applicable
from tslc.domain.doctor.node_state import (
    AgentFacts,
    RouterFacts,
    VersionFacts,
    judge_agent,
    judge_node,
    judge_router,
    judge_torchserve_answer,
    judge_versions,
)
from tslc.domain.doctor.ports import PortSeen, judge_ports
from tslc.domain.node import NodeSettings
from tslc.domain.release.report import NodeReport
from tslc.domain.release.state import EnvironmentState
from tslc.domain.supervised import AGENT, ROUTER
from tslc.errors import RemoteFailed, TslcError
from tslc.verbs.doctor.subject import Subject
from tslc.verbs.running_node import open_node, served_versions
from tslc.verbs.store_access import open_store

_UNSEEN = "a process this user may not see"


def ports(subject: Subject) -> Finding:
    node = subject.node
    state = node_folder.read_state(subject.paths)
    settings = state.settings if state else NodeSettings()
    routed = node.program(ROUTER) is not None or not node.exists
    own = _own_pids(subject) if node.up else frozenset()
    seen = [
        PortSeen(flag, port)
        if is_free(port)
        else PortSeen(flag, port, holder(port) or _UNSEEN, holder_pid(port) in own)
        for flag, port in settings.ports.used(router=routed).items()
    ]
    return judge_ports(seen, up=node.up, name=node.name)


def _own_pids(subject: Subject) -> frozenset[int]:
    paths = subject.paths
    everything = (
        *node_processes(paths),
        *supervisor.processes(paths),
        *seaweedfs.processes(paths),
    )
    return frozenset(process.pid for process in everything)


def node(subject: Subject) -> Finding:
    return judge_node(subject.node)


def torchserve(subject: Subject) -> Finding:
    if not subject.node.up:
        return _down(subject)
    try:
        models = open_node(subject.home, subject.paths.name).api.models()
    except RemoteFailed as error:
        return judge_torchserve_answer(error.message, 0, subject.node)
    return judge_torchserve_answer(None, len(models), subject.node)


def router(subject: Subject) -> Finding:
    if not subject.node.up:
        return _down(subject)
    if subject.node.program(ROUTER) is None:
        return judge_router(None, subject.node)
    envoy = EnvoyRouter.of(subject.paths)
    state = envoy.state()
    facts = RouterFacts(envoy.address, state.reachable, state.listening, state.problem)
    return judge_router(facts, subject.node)


def agent(subject: Subject) -> Finding:
    if not subject.node.up:
        return _down(subject)
    folder = AgentFolder(subject.paths)
    written = folder.report_written()
    age = (now().timestamp() - written) if written is not None else 0.0
    return judge_agent(AgentFacts(_report(folder), age), subject.node)


def versions(subject: Subject) -> Finding:
    if not subject.node.up:
        return _down(subject)
    if subject.node.program(AGENT) is None:
        served = served_versions(open_node(subject.home, subject.paths.name))
        facts = VersionFacts(subject.environment, served=served, by_agent=False)
        return judge_versions(facts, subject.node)
    folder = AgentFolder(subject.paths)
    wanted, why_not = _wanted(subject, folder)
    report = _report(folder)
    facts = VersionFacts(subject.environment, wanted, report, why_not=why_not)
    return judge_versions(facts, subject.node)


def _wanted(subject: Subject, folder: AgentFolder) -> tuple[EnvironmentState | None, str]:
    """As the store says; where it does not answer, as the agent read it last."""
    try:
        store = open_store(subject.settings, subject.paths, impatient=True)
        found = EnvironmentObjects(store, subject.environment).read_state()
    except TslcError as error:
        return folder.read_desired(subject.environment), error.message
    return (found.state if found else EnvironmentState(subject.environment)), ""


def _report(folder: AgentFolder) -> NodeReport | None:
    content = folder.read_report()
    return NodeReport.parse(content) if content else None


def _down(subject: Subject) -> Finding:
    return not_applicable(f"node '{subject.paths.name}' is not up")
