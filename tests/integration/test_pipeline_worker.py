"""`tslc pipeline worker` against a server that speaks CodePipeline's protocol, on a real S3 store.

The worker is a process of its own that can be killed. The release it goes on with is a test's: what
the worker does with its answers is what is tested.
"""

from __future__ import annotations

import io
import json
import signal
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from codepipeline_server import SECRET_KEY, SESSION_TOKEN, codepipeline
from nodes import eventually
from pipeline_line import Line
from s3 import S3Server


@pytest.fixture
def line(s3: S3Server, tmp_path: Path) -> Iterator[Line]:
    with codepipeline() as server:
        yield Line(server, s3, s3.new_bucket(), tmp_path)


def configuration(plan: Mapping[str, Any] | None, **changed: str) -> dict[str, str]:
    """Of an action; without a plan of its own it is in the artifact."""
    said = {"Model": "support-bot", "Environment": "production", "Version": "1.1.0"}
    where = {"PlanText": yaml.safe_dump(plan)} if plan else {"Plan": "bots/release.yaml"}
    return {**said, **where, **changed}


def artifact(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name.replace("__", "/"), content)
    return packed.getvalue()


def test_a_release_goes_on_from_job_to_job_until_it_is_done(line: Line) -> None:
    plan = "{slices: 3, end: done}"
    job = line.server.pipeline.start(
        configuration(None), artifact(**{"bots__release.yaml": plan, "bots__more.jsonl": "{}"})
    )
    with line.worker() as worker:
        assert line.ends(job, "Succeeded"), worker.said
        assert eventually(lambda: line.record()["stage"] == "ended")
        assert worker.terminate() == 0
    told = line.server.pipeline.told(job.execution)
    assert [one["executionDetails"]["percentComplete"] for one in told] == [33, 66, 100]
    assert [one["executionDetails"]["summary"] for one in told] == [
        "slice 1",
        "slice 2",
        "promoted",
    ]
    assert [json.loads(one["continuationToken"])["release"] for one in told[:2]] == 2 * [
        "support-bot 1.1.0"
    ]
    assert "continuationToken" not in told[2]
    assert told[0]["currentRevision"]["revisionSummary"] == "slice 1"
    # Each job belongs to who acknowledged it.
    assert line.server.pipeline.count("AcknowledgeJob") == 3
    for secret in (SECRET_KEY, SESSION_TOKEN):
        assert secret not in worker.said
        assert secret not in json.dumps(line.record())


def test_a_release_that_is_taken_back_ends_the_pipeline_red_with_the_reason(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 2, "end": "taken back"}))
    with line.worker() as worker:
        assert line.ends(job, "Failed"), worker.said
    (_, last) = line.server.pipeline.told(job.execution)
    assert last["failureDetails"]["type"] == "JobFailed"
    assert "errors 7% > 1%" in last["failureDetails"]["message"]


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"PlanText": "{slices: 1, end: bad}"}, "ConfigurationError", "mend it"),
        ({"PlanText": "{slices: 1, end: refused}"}, "JobFailed", "not signed"),
        ({"Version": "..", "Modell": "x"}, "ConfigurationError", "unknown key 'Modell'"),
        ({"Plan": "release.yaml"}, "ConfigurationError", "both are given"),
    ],
)
def test_what_can_not_be_released_fails_at_once_and_says_why(
    line: Line, changed: dict[str, str], kind: str, said: str
) -> None:
    plan = {"slices": 1, "end": "done"}
    job = line.server.pipeline.start({**configuration(plan), **changed})
    with line.worker() as worker:
        assert line.ends(job, "Failed"), worker.said
    (told,) = line.server.pipeline.told(job.execution)
    assert told["failureDetails"]["type"] == kind
    assert said in told["failureDetails"]["message"]


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        ({"other.yaml": "{}"}, "has no file bots/release.yaml"),
        ({"..__evil": "x", "bots__release.yaml": "{}"}, "leads out of it"),
    ],
)
def test_an_artifact_without_the_plan_or_with_more_than_files_of_its_own_is_refused(
    line: Line, packed: dict[str, str], said: str
) -> None:
    job = line.server.pipeline.start(configuration(None), artifact(**packed))
    with line.worker() as worker:
        assert line.ends(job, "Failed"), worker.said
    assert said in line.server.pipeline.told(job.execution)[0]["failureDetails"]["message"]
    assert not list(line.folder.parent.rglob("evil"))


def test_a_worker_that_is_throttled_tries_again(line: Line) -> None:
    faults = line.server.pipeline.faults
    for operation in ("PollForJobs", "AcknowledgeJob", "PutJobSuccessResult"):
        faults[operation] = ["throttle", "throttle", "throttle"]
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "done"}))
    with line.worker() as worker:
        assert line.ends(job, "Succeeded"), worker.said
    assert faults == {"PollForJobs": [], "AcknowledgeJob": [], "PutJobSuccessResult": []}
    assert line.slices() == 1


def test_a_release_whose_helpers_do_not_answer_is_tried_again_a_few_times(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "away"}))
    with line.worker() as worker:
        assert line.ends(job, "Failed"), worker.said
        assert eventually(lambda: line.record()["stage"] == "ended")
    told = line.server.pipeline.told(job.execution)
    assert "trying again (4 of 5)" in told[3]["executionDetails"]["summary"]
    assert told[4]["failureDetails"]["type"] == "SystemUnavailable"
    assert len(told) == 5
    # It may have had traffic.
    assert line.log_of_release()[-1].startswith("take back")


def test_a_job_whose_acknowledgement_is_lost_is_left_alone_and_comes_again(line: Line) -> None:
    # The worker is told no more than that nobody answers, as often as it tries.
    line.server.pipeline.faults["AcknowledgeJob"] = ["drop"] * 2
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "done"}))
    with line.worker(env={"AWS_MAX_ATTEMPTS": "1"}) as worker:
        assert line.ends(job, "Succeeded"), worker.said
    assert line.slices() == 1
    assert [name for name, _ in line.server.pipeline.calls].count("PollForJobs") > 2


def test_a_job_that_was_acknowledged_though_nobody_was_told_is_taken_up(line: Line) -> None:
    line.server.pipeline.faults["AcknowledgeJob"] = ["lost"]
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "done"}))
    with line.worker(env={"AWS_MAX_ATTEMPTS": "1"}) as worker:
        assert line.ends(job, "Succeeded"), worker.said
    assert line.slices() == 1


def test_an_answer_that_got_lost_on_its_way_back_ends_no_release(line: Line) -> None:
    line.server.pipeline.faults["PutJobSuccessResult"] = ["lost"]
    job = line.server.pipeline.start(configuration({"slices": 3, "end": "done"}))
    with line.worker() as worker:
        assert line.ends(job, "Succeeded"), worker.said
    # botocore asked again, and CodePipeline wanted no second answer.
    assert not any(what.startswith("take back") for what in line.log_of_release())
    assert line.slices() == 3


def test_a_job_that_another_worker_acknowledged_first_is_left_alone(line: Line) -> None:
    pipeline = line.server.pipeline
    job = pipeline.start(configuration({"slices": 1, "end": "done"}))
    acknowledge = pipeline.AcknowledgeJob
    pipeline.AcknowledgeJob = lambda asked: {"status": "TimedOut"}  # type: ignore[method-assign]
    with line.worker() as worker:
        assert eventually(lambda: "could not be acknowledged" in worker.said, 20)
        assert line.slices() == 0
        pipeline.AcknowledgeJob = acknowledge  # type: ignore[method-assign]
        assert line.ends(job, "Succeeded"), worker.said


def test_a_pipeline_that_is_stopped_midway_has_its_release_taken_back(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 50, "end": "done", "hold": 0.5}))
    with line.worker() as worker:
        assert eventually(lambda: line.slices() >= 2, 20), worker.said
        line.server.pipeline.stop(job.execution)
        assert eventually(lambda: "take back: its pipeline is Stopped" in line.log_of_release(), 20)
        assert eventually(lambda: line.record()["stage"] == "ended")
        slices = line.slices()
        assert not eventually(lambda: line.slices() > slices, 2)


def test_a_pipeline_that_is_stopped_while_no_worker_runs_has_its_release_taken_back_later(
    line: Line,
) -> None:
    job = line.server.pipeline.start(configuration({"slices": 50, "end": "done", "hold": 0.2}))
    with line.worker() as worker:
        assert eventually(lambda: line.slices() >= 2, 20), worker.said
        assert worker.terminate() == 0
    line.server.pipeline.stop(job.execution)
    assert line.record()["stage"] == "between"
    with line.worker() as worker:
        assert eventually(lambda: line.record()["stage"] == "ended", 30), worker.said
    assert line.log_of_release()[-1] == "take back: its pipeline is Stopped"


def test_a_killed_workers_release_is_continued_by_another_one(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 4, "end": "done", "hold": 0.6}))
    with line.worker() as first:
        assert eventually(lambda: line.log_of_release()[-1:] == ["begun"], 20), first.said
        assert eventually(lambda: line.slices() >= 1, 20)
        assert eventually(lambda: line.log_of_release()[-1:] == ["begun"], 20)
        # In the middle of a slice: the job is acknowledged, and nobody will tell of it.
        first.kill()
    assert line.record()["stage"] == "working"
    assert line.status(job) == "InProgress"
    with line.worker() as second:
        assert line.ends(job, "Succeeded"), second.said
        assert "taken up" in second.said
    assert line.slices() == 4
    assert len({pid for pid, _ in line.release()["log"]}) == 2
    assert len(line.server.pipeline.told(job.execution)) == 4


def test_a_worker_that_was_stopped_for_a_while_does_no_harm_when_it_wakes(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 6, "end": "done", "hold": 0.6}))
    with line.worker() as first:
        assert eventually(lambda: line.log_of_release()[-1:] == ["begun"], 20), first.said
        first.process.send_signal(signal.SIGSTOP)
        with line.worker() as second:
            assert eventually(lambda: line.slices() >= 2, 30), second.said
            first.process.send_signal(signal.SIGCONT)
            assert line.ends(job, "Succeeded"), first.said + second.said
    assert not any(what.startswith("take back") for what in line.log_of_release())


def test_a_worker_that_is_asked_to_end_tells_how_far_it_is_and_another_goes_on(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 3, "end": "done", "hold": 30}))
    with line.worker("--slice", "60", "--orphaned-after", "180") as first:
        assert eventually(lambda: line.log_of_release()[-1:] == ["begun"], 20), first.said
        assert first.terminate() == 0
    assert len(line.server.pipeline.told(job.execution)) == 1
    assert line.record()["stage"] == "between"
    with line.worker() as second:
        assert line.ends(job, "Succeeded"), second.said


def test_a_new_pipeline_takes_back_what_a_stopped_one_left_before_it_begins(line: Line) -> None:
    plan = {"slices": 50, "end": "done", "hold": 0.2}
    old = line.server.pipeline.start(configuration(plan))
    with line.worker() as worker:
        assert eventually(lambda: line.slices() >= 2, 20), worker.said
        assert worker.terminate() == 0
    line.server.pipeline.stop(old.execution)
    new = line.server.pipeline.start(configuration({"slices": 1, "end": "done"}, Version="1.2.0"))
    with line.worker() as worker:
        assert line.ends(new, "Succeeded"), worker.said
    assert line.log_of_release()[-1] == "take back: its pipeline is Stopped"
    assert line.log_of_release(version="1.2.0") == ["begun", "slice"]


def test_a_second_pipeline_of_the_same_model_fails_and_names_the_first(line: Line) -> None:
    plan = {"slices": 50, "end": "done", "hold": 0.2}
    first = line.server.pipeline.start(configuration(plan))
    with line.worker() as worker:
        assert eventually(lambda: line.slices() >= 1, 20), worker.said
        second = line.server.pipeline.start(configuration(plan, Version="1.2.0"))
        assert line.ends(second, "Failed"), worker.said
        assert line.status(first) == "InProgress"
    told = line.server.pipeline.told(second.execution)[0]["failureDetails"]
    assert first.execution in told["message"]


def test_releases_of_several_models_go_on_side_by_side_and_others_environments_are_left(
    line: Line,
) -> None:
    pipeline = line.server.pipeline
    plan = {"slices": 2, "end": "done", "hold": 0.5}
    ours = [pipeline.start(configuration(plan, Model=name)) for name in ("a", "b", "c")]
    other = pipeline.start(configuration(plan, Environment="staging"))
    with line.worker() as worker:
        for job in ours:
            assert line.ends(job, "Succeeded"), worker.said
    assert pipeline.of(other.execution)[0].status == "Queued"


def test_a_paused_release_stays_paused_and_says_so(line: Line) -> None:
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "paused", "hold": 0.5}))
    with line.worker() as worker:
        assert eventually(lambda: len(line.server.pipeline.told(job.execution)) >= 3, 20)
        assert line.status(job) == "InProgress", worker.said
    last = line.server.pipeline.told(job.execution)[-1]
    assert last["executionDetails"] == {"summary": "paused at 50%", "percentComplete": 50}


def test_a_bug_ends_the_worker_with_its_traceback_and_is_not_taken_for_a_verdict(
    line: Line,
) -> None:
    job = line.server.pipeline.start(configuration({"slices": 1, "end": "bug"}))
    with line.worker() as worker:
        assert eventually(lambda: worker.process.poll() is not None, 20)
    assert worker.process.returncode == 1
    assert "ZeroDivisionError" in worker.said
    assert line.status(job) == "InProgress"


def test_a_slice_may_not_last_as_long_as_a_job_that_was_left(line: Line) -> None:
    with line.worker("--slice", "2") as worker:
        assert worker.process.wait(20) == 2
    assert "--orphaned-after 6" in worker.said


@pytest.fixture
def cbor_only(tmp_path: Path) -> Mapping[str, str]:
    """botocore with a service model that knows RPC v2 CBOR alone: CodePipeline's own names it
    beside JSON 1.1, which botocore prefers."""
    loader = botocore.session.get_session().get_component("data_loader")
    version = loader.determine_latest_version("codepipeline", "service-2")
    model = loader.load_data(f"codepipeline/{version}/service-2")
    cbor = "smithy-rpc-v2-cbor"
    about = {**model["metadata"], "protocol": cbor, "protocols": [cbor]}
    folder = tmp_path / "models" / "codepipeline" / version
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({**model, "metadata": about}))
    return {"AWS_DATA_PATH": str(tmp_path / "models")}


@pytest.mark.parametrize("protocol", ["json", "cbor"])
def test_both_protocols_that_codepipeline_speaks_carry_a_whole_release(
    line: Line, cbor_only: Mapping[str, str], protocol: str
) -> None:
    job = line.server.pipeline.start(configuration({"slices": 2, "end": "done"}))
    with line.worker(env=cbor_only if protocol == "cbor" else None) as worker:
        assert line.ends(job, "Succeeded"), worker.said
    assert line.server.pipeline.protocols == {protocol}


def test_the_server_refuses_what_the_service_model_does_not_allow() -> None:
    from codepipeline_server import _MODEL, problems

    check: Callable[..., list[str]] = lambda name, **asked: problems(  # noqa: E731
        asked, _MODEL.operation_model(name).input_shape
    )
    known = "00000000-0000-4000-8000-000000000000"
    assert check("AcknowledgeJob", jobId=known, nonce="1") == []
    assert check("AcknowledgeJob", jobId="1", nonce="1")
    assert check("AcknowledgeJob", jobId=known)
    assert check("AcknowledgeJob", jobId=known, nonce="1", more="x")
    failed = {"type": "JobFailed", "message": "m"}
    assert check("PutJobFailureResult", jobId=known, failureDetails=failed) == []
    assert check("PutJobFailureResult", jobId=known, failureDetails={**failed, "type": "Bad"})
    assert check(
        "PutJobFailureResult", jobId=known, failureDetails={**failed, "message": "m" * 5001}
    )
