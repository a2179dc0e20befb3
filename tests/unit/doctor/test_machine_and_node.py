"""What is made of processes, ports, limits, disks, and a node's state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tslc.domain.doctor.clock import judge_clock
from tslc.domain.doctor.disk import DiskFacts, Folder, judge_disk
from tslc.domain.doctor.finding import Finding, Verdict, fault, not_applicable, ok, warning, worst
from tslc.domain.doctor.leftovers import LeftoverFacts, ProcessSeen, judge_leftovers, leftovers
from tslc.domain.doctor.limits import SharedMemory, judge_open_files, judge_shared_memory
from tslc.domain.doctor.node_state import (
    AgentFacts,
    NodeFacts,
    RouterFacts,
    VersionFacts,
    judge_agent,
    judge_node,
    judge_router,
    judge_versions,
)
from tslc.domain.doctor.ports import PortSeen, judge_ports
from tslc.domain.gpus import GIB, MIB
from tslc.domain.release.report import ModelReport, NodeReport, Phase, VersionReport
from tslc.domain.release.state import EnvironmentState, ModelState
from tslc.domain.served import DoorReport, ServedVersion
from tslc.domain.supervised import AGENT, ProgramRun, ProgramStatus

OK, WARNING, FAULT = Verdict.OK, Verdict.WARNING, Verdict.FAULT
NODE = "/home/anna/nodes/default"
INIT = ProcessSeen(1, 0, "/sbin/init")
SERVER = ProcessSeen(10, 1, "java -cp . org.pytorch.serve.ModelServer", NODE)
WORKER = ProcessSeen(11, 10, "python /x/ts/model_service_worker.py", NODE, program="python3.11")
ENGINE = ProcessSeen(12, 11, "VLLM::EngineCore", NODE, 3 * GIB)


def test_several_findings_are_as_bad_as_the_worst_and_say_no_more() -> None:
    found = worst([ok("a"), warning("b", "mend b"), fault("c", "mend c"), fault("d", "mend c")])
    assert found == Finding(FAULT, "c; d", "mend c")
    assert worst([ok("a"), not_applicable("b")]) == ok("a")


def test_engines_that_have_an_owner_are_none_of_the_leftovers() -> None:
    by_hand = ProcessSeen(20, 1, "python3 -m vllm.entrypoints.cli", program="python3.11")
    theirs = ProcessSeen(21, 20, "VLLM::EngineCore", program="python3.11")
    rank = ProcessSeen(22, 21, "VLLM::Worker_TP0", program="python3.11")
    replica = ProcessSeen(23, 1, "ray::ServeReplica:bot", program="python3.11")
    in_ray = ProcessSeen(24, 23, "VLLM::EngineCore", program="python3.11")
    anothers = ProcessSeen(25, 1, "", program="")
    unseen = ProcessSeen(26, 25, "VLLM::EngineCore")
    supervisor = ProcessSeen(27, 1, "VLLM::DPSupervisor", program="python3.11")
    others = (by_hand, theirs, rank, replica, in_ray, anothers, unseen, supervisor)
    all_of_them = (INIT, SERVER, WORKER, ENGINE, *others)
    assert leftovers(all_of_them) == ()
    assert judge_leftovers(LeftoverFacts(all_of_them)).verdict is OK


def test_an_engine_in_a_container_whose_first_process_is_its_owner_is_no_leftover() -> None:
    first = ProcessSeen(1, 0, "python -m vllm.entrypoints.openai.api_server")
    assert leftovers((first, ProcessSeen(7, 1, "VLLM::EngineCore"))) == ()


def test_an_engine_whose_owner_may_not_be_seen_is_no_leftover() -> None:
    assert leftovers((INIT, ProcessSeen(7, 6, "VLLM::EngineCore"))) == ()


def test_what_a_killed_owner_left_is_found_with_how_to_end_it() -> None:
    orphan = replace(ENGINE, parent=1, node=None)
    found = judge_leftovers(LeftoverFacts((INIT, orphan)))
    assert (found.verdict, found.fix) == (FAULT, "kill 12")
    assert "VLLM::EngineCore (pid 12, 3.0 GiB)" in found.found


def test_an_orphan_given_to_a_subreaper_is_found() -> None:
    reaper = ProcessSeen(5, 1, "/usr/lib/systemd/systemd --user", program="systemd")
    orphan = replace(ENGINE, parent=5)
    assert leftovers((INIT, reaper, orphan)) == (orphan,)


def test_the_workers_of_a_node_whose_torchserve_is_gone_are_ended_with_the_node() -> None:
    worker = replace(WORKER, parent=1)
    engine = replace(ENGINE, parent=worker.pid)
    found = judge_leftovers(LeftoverFacts((INIT, worker, engine), {NODE: "default"}))
    assert (found.verdict, found.fix) == (FAULT, "tslc down --name default")
    elsewhere = judge_leftovers(LeftoverFacts((INIT, worker), {}))
    assert elsewhere.fix == "kill 11"


def test_a_busy_port_is_named_with_its_holder_and_its_flag() -> None:
    seen = [
        PortSeen("--inference-port", 8080, "python3 (pid 7)"),
        PortSeen("--router-port", 8000),
    ]
    found = judge_ports(seen, up=False, name="default")
    assert found.verdict is FAULT
    assert "--inference-port 8080 is held by python3 (pid 7)" in found.found
    assert "--inference-port N" in found.fix


def test_a_port_that_the_node_holds_is_fine_and_a_strangers_is_not() -> None:
    own = PortSeen("--router-port", 8000, "envoy (pid 8)", own=True)
    assert judge_ports([own], up=True, name="n").verdict is OK
    found = judge_ports([replace(own, own=False)], up=True, name="n")
    assert (found.verdict, found.fix[:16]) == (FAULT, "tslc down --name")


@pytest.mark.parametrize(
    ("hard", "verdict"),
    [(1024, FAULT), (4095, FAULT), (20_000, WARNING), (65_535, OK), (None, OK)],
)
def test_few_open_files_are_few_clients(hard: int | None, verdict: Verdict) -> None:
    assert judge_open_files(hard).verdict is verdict


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (SharedMemory(None), FAULT),
        (SharedMemory(64 * MIB, 64 * MIB, gpus=4), FAULT),
        (SharedMemory(64 * MIB, 64 * MIB), WARNING),
        (SharedMemory(8 * GIB, 8 * GIB, gpus=4), OK),
    ],
)
def test_little_shared_memory_is_a_fault_where_several_cards_need_it(
    facts: SharedMemory, verdict: Verdict
) -> None:
    found = judge_shared_memory(facts)
    assert found.verdict is verdict
    assert verdict is OK or "2g" in found.fix


def disk(**changed: object) -> Finding:
    cache = Folder("the cache", "/cache", 50 * GIB, 100 * GIB)
    home = Folder("the node", "/node", 10 * GIB, 20 * GIB)
    facts = DiskFacts(cache, home, 200 * GIB, "production", 2, 10 * GIB, 10 * GIB)
    return judge_disk(replace(facts, **changed))  # type: ignore[arg-type]


def test_a_disk_is_judged_by_what_the_environment_needs_more() -> None:
    assert disk().verdict is OK
    full = disk(missing=60 * GIB)
    assert (full.verdict, "60.0 GiB more" in full.found) == (FAULT, True)
    assert disk(wanted=300 * GIB).verdict is WARNING
    assert disk(home=Folder("the node", "/node", MIB, GIB)).verdict is FAULT
    assert disk(cache=Folder("the cache", "/cache", MIB, GIB), missing=0).verdict is FAULT
    assert disk(cache=Folder("the cache", "/cache", 2 * GIB, 9 * GIB), missing=0).verdict is WARNING
    unknown = disk(missing=None, unknown_because="no bucket")
    assert (unknown.verdict, "no bucket" in unknown.found) == (OK, True)


@pytest.mark.parametrize(
    ("skew", "verdict", "said"),
    [
        (0.4, OK, "agrees"),
        (-12.0, OK, "12 s behind"),
        (90.0, WARNING, "90 s ahead of"),
        (-3600.0, FAULT, "60 min behind"),
    ],
)
def test_a_clock_is_judged_by_what_s3_lets_pass(skew: float, verdict: Verdict, said: str) -> None:
    found = judge_clock(skew)
    assert (found.verdict, said in found.found) == (verdict, True), found
    assert (verdict is OK) == (not found.fix)


def program(name: str, starts: int = 1, *, running: bool = True) -> ProgramStatus:
    run = ProgramRun(pid=42, created=1.0, since="today", starts=starts)
    return ProgramStatus(name, running, run)


UP = NodeFacts("n1", "/n1", True, True, True, (program("torchserve"), program(AGENT)))
REPORT = NodeReport("host-n1", "dev", 3, "0.1.0", "today")


def test_a_node_that_is_down_is_no_fault() -> None:
    assert judge_node(NodeFacts("n1", "/n1")).verdict is Verdict.NOT_APPLICABLE
    assert judge_node(replace(UP, up=False)).verdict is Verdict.NOT_APPLICABLE


def test_a_node_whose_programs_run_is_fine_and_one_that_lost_its_keeper_is_not() -> None:
    assert judge_node(UP).verdict is OK
    lost = judge_node(replace(UP, supervised=False, ports={"--router-port": 8001}))
    again = "tslc up --name n1 --router-port 8001"
    assert (lost.verdict, lost.fix.startswith(again)) == (FAULT, True)
    dead = judge_node(replace(UP, programs=(program("router", running=False),)))
    assert (dead.verdict, "router does not run" in dead.found) == (FAULT, True)
    flapping = judge_node(replace(UP, programs=(program("router", starts=9),)))
    assert (flapping.verdict, "8 times" in flapping.found) == (WARNING, True)


def test_an_agent_is_judged_by_its_process_and_its_last_report() -> None:
    assert judge_agent(AgentFacts(REPORT, 5.0), UP).verdict is OK
    silent = judge_agent(AgentFacts(REPORT, 300.0), UP)
    assert (silent.verdict, silent.fix.startswith("kill -9 42")) == (FAULT, True)
    troubled = judge_agent(AgentFacts(replace(REPORT, problems=("the store is away",)), 5.0), UP)
    assert (troubled.verdict, troubled.found) == (WARNING, "the store is away")
    dead = replace(UP, programs=(program(AGENT, running=False),))
    assert judge_agent(AgentFacts(REPORT, 5.0), dead).verdict is FAULT
    without = replace(UP, programs=(program("torchserve"),))
    assert judge_agent(AgentFacts(), without).verdict is Verdict.NOT_APPLICABLE


def test_a_router_that_refused_its_configuration_is_a_fault_though_it_answers() -> None:
    fine = RouterFacts("http://127.0.0.1:8000", True, True)
    assert judge_router(fine, UP).verdict is OK
    assert judge_router(replace(fine, problem="bad route"), UP).verdict is FAULT
    assert judge_router(replace(fine, listening=False), UP).verdict is FAULT
    assert judge_router(None, UP).verdict is Verdict.NOT_APPLICABLE


WANTED = EnvironmentState("dev", 3, models={"m": ModelState(("1.0.0",), (("1.0.0", 10_000),))})


def versions(phase: Phase | None, **changed: object) -> Finding:
    told = {"1.0.0": VersionReport(phase, reason="no memory")} if phase else {}
    report = replace(REPORT, models={"m": ModelReport(True, told)}, **changed)  # type: ignore[arg-type]
    return judge_versions(VersionFacts("dev", WANTED, report), UP)


def test_wanted_versions_are_judged_by_what_the_node_tells_of_them() -> None:
    assert versions(Phase.READY).verdict is OK
    failed = versions(Phase.FAILED)
    assert (failed.verdict, failed.found) == (FAULT, "m 1.0.0 failed: no memory")
    assert "tslc rollback m" in failed.fix
    assert versions(Phase.LOADING).verdict is WARNING
    assert versions(None).verdict is WARNING
    behind = versions(Phase.READY, generation=2)
    assert (behind.verdict, behind.found) == (WARNING, "at generation 2 of 3")
    elsewhere = versions(Phase.READY, environment="production")
    assert elsewhere.fix == "tslc doctor --env production"


def test_without_an_agent_the_workers_answer_counts() -> None:
    ready = ServedVersion("m", "1", True, 1, "m.mar", (DoorReport(7, True),))
    dead = replace(ready, doors=())
    for served, verdict in ((ready, OK), (dead, FAULT)):
        facts = VersionFacts("dev", served=(served,), by_agent=False)
        assert judge_versions(facts, UP).verdict is verdict
