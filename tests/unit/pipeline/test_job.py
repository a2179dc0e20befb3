"""What a job says, what is told of it, and what is to be done about one that somebody left."""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.adapters.job_artifact import MOST_FILES, unpack
from tslc.domain.pipeline.action import (
    ArtifactCredentials,
    ArtifactPlace,
    Job,
    read_action,
)
from tslc.domain.pipeline.brief import short
from tslc.domain.pipeline.record import Execution, JobRecord, Next, Stage, after_end
from tslc.domain.pipeline.step import Phase, StepResult
from tslc.domain.pipeline.told import (
    MOST_FAILURES,
    MOST_MESSAGE,
    MOST_SUMMARY,
    Failed,
    FailureKind,
    GoesOn,
    Succeeded,
    Token,
    token_of,
    told_of,
    told_of_error,
)
from tslc.domain.version_diff import Change, Part, PartDiff
from tslc.errors import BadFile, BadInput, Inconclusive, Refused, RemoteFailed

SAID = {"Model": "bot", "Environment": "production", "Version": "1.1.0", "Plan": "a/release.yaml"}
TOKEN = Token("production", "bot 1.1.0")
PLACE = ArtifactPlace("Source", "bucket", "key")


def test_an_actions_configuration_is_read_and_blanks_count_as_nothing() -> None:
    action = read_action({**SAID, "PlanText": "  "})
    assert (action.model, action.environment, action.version) == ("bot", "production", "1.1.0")
    assert (action.plan, action.plan_text) == ("a/release.yaml", None)


def test_all_mistakes_of_a_configuration_are_told_at_once() -> None:
    with pytest.raises(BadFile) as caught:
        read_action({"Modell": "bot", "Version": "a/b", "Plan": "../x", "PlanText": "y"})
    said = [one.where for one in caught.value.mistakes]
    assert said == [
        *("configuration", "Model", "Environment"),
        *("Plan, PlanText", "Version", "Plan"),
    ]
    assert "write 'Model'" in caught.value.message


def test_a_jobs_credentials_are_never_printed() -> None:
    job = Job("1", SAID, credentials=ArtifactCredentials("KEY", "SECRET", "SESSION"))
    for secret in ("KEY", "SECRET", "SESSION"):
        assert secret not in repr(job)


@given(st.text(max_size=80), st.text(max_size=80), st.integers(0, 9))
def test_a_token_is_read_as_it_was_written(environment: str, release: str, failures: int) -> None:
    token = Token(environment, release, failures)
    assert Token.parse(token.render()) == token


@pytest.mark.parametrize("text", ["", "{}", "[]", "1", '{"schema": 2}', '{"schema": 1, "x": 1}'])
def test_a_token_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="none of tslc's"):
        Token.parse(text)


def test_a_job_with_the_token_of_another_release_is_refused() -> None:
    action = read_action(SAID)
    assert token_of(Job("1", SAID), action) == TOKEN
    assert token_of(Job("1", SAID, token=replace(TOKEN, failures=2).render()), action).failures == 2
    with pytest.raises(BadInput, match=r"bot 1\.0\.0"):
        token_of(Job("1", SAID, token=Token("production", "bot 1.0.0").render()), action)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_release_that_goes_on_goes_on_and_one_that_ended_ends_the_action(phase: Phase) -> None:
    told = told_of(StepResult(phase, "where it is", 40, "why"), replace(TOKEN, failures=3))
    match phase:
        case Phase.RUNNING | Phase.PAUSED:
            assert told == GoesOn(TOKEN, "where it is", 40)  # the failures are over
        case Phase.DONE:
            assert told == Succeeded("where it is")
        case Phase.TAKEN_BACK:
            assert told == Failed(FailureKind.JOB_FAILED, "taken back: why")


@given(st.text(max_size=9000), st.integers(-10, 1000), st.sampled_from(Phase))
def test_what_is_told_keeps_within_codepipelines_limits(
    text: str, percent: int, phase: Phase
) -> None:
    match told_of(StepResult(phase, text, percent, text), TOKEN):
        case GoesOn(token, summary, share):
            assert 1 <= len(summary) <= MOST_SUMMARY
            assert 0 <= share <= 100
            assert 1 <= len(token.render()) <= 2048
        case Succeeded(summary):
            assert 1 <= len(summary) <= MOST_SUMMARY
        case Failed(_, message):
            assert 1 <= len(message) <= MOST_MESSAGE


def test_who_did_not_answer_is_asked_again_a_few_times() -> None:
    told: object = GoesOn(TOKEN, "", 0)
    for _ in range(MOST_FAILURES - 1):
        assert isinstance(told, GoesOn)
        told = told_of_error(RemoteFailed("away"), told.token)
    assert isinstance(told, GoesOn)
    last = told_of_error(RemoteFailed("away", hint="look"), told.token)
    assert last == Failed(FailureKind.UNAVAILABLE, "away\nlook")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadInput("x"), FailureKind.CONFIGURATION),
        (Refused("x"), FailureKind.JOB_FAILED),
        (Inconclusive("x"), FailureKind.JOB_FAILED),
    ],
)
def test_what_no_second_try_mends_ends_the_action_at_once(
    error: BadInput | Refused, kind: FailureKind
) -> None:
    assert told_of_error(error, TOKEN) == Failed(kind, "x")


RECORD = JobRecord("id", "pipe", "execution", "worker", Stage.WORKING, dict(SAID))


def test_a_record_is_read_as_it_was_written_and_a_strange_one_is_refused() -> None:
    assert JobRecord.parse(RECORD.render(), "s") == RECORD
    for wrong in (b"{}", b"\xff", RECORD.render().replace(b'"job"', b'"jobb"')):
        with pytest.raises(BadFile):
            JobRecord.parse(wrong, "s")


@pytest.mark.parametrize("execution", [*Execution, None])
@pytest.mark.parametrize("stage", [Stage.WORKING, Stage.BETWEEN])
def test_a_release_goes_on_while_its_pipeline_does_and_not_longer(
    stage: Stage, execution: Execution | None
) -> None:
    found = after_end(replace(RECORD, stage=stage), execution)
    goes_on = execution in (Execution.IN_PROGRESS, Execution.STOPPING)
    if goes_on:
        assert found is (Next.TAKE_UP if stage is Stage.WORKING else Next.LEAVE)
    elif execution is Execution.SUCCEEDED:
        assert found is Next.CLOSE
    else:
        assert found is Next.TAKE_BACK


def packed(*names: str, link: bool = False) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o644) << 16
            zipped.writestr(entry, "/etc/passwd")
    return content.getvalue()


def test_an_artifact_is_unpacked(tmp_path: Path) -> None:
    unpack(packed("a/release.yaml", "b"), PLACE, tmp_path)
    assert (tmp_path / "a" / "release.yaml").read_text() == "/etc/passwd"


@pytest.mark.parametrize(
    "content",
    [
        packed("../x"),
        packed("/x"),
        packed("a\\..\\x"),
        packed("l", link=True),
        packed(*map(str, range(MOST_FILES + 1))),
    ],
    ids=["above", "absolute", "windows", "link", "many"],
)
def test_an_artifact_that_is_more_than_files_of_its_own_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(Refused):
        unpack(content, PLACE, tmp_path / "in")
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", packed("a")[:-30]])
def test_what_is_no_zip_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadInput, match="no zip that can be read"):
        unpack(content, PLACE, tmp_path)


CHANGES = st.lists(st.builds(Change, st.text(max_size=300), st.text(), st.text()), max_size=30)


@given(st.lists(st.builds(PartDiff, st.sampled_from(Part), CHANGES.map(tuple), st.integers(0, 9))))
def test_a_short_brief_is_one_line_that_an_approval_takes(parts: list[PartDiff]) -> None:
    said = short("bot 2 for production, in place of 1", tuple(parts), "passed\n" * 200)
    assert len(said) <= 900
    assert len(said.splitlines()) == 1
