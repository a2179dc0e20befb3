"""`tslc release` and `tslc eval` on a real node: forward, stopped, back, cut short, continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from environments import Served, asking, push, served
from nodes import Ran, TinyArchives, eventually
from nodes import short_folder as make_folder
from s3 import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
GATES = {"errors": "10%", "min_requests": 5}
QUESTIONS = [
    {
        "name": word,
        "request": {"messages": [{"role": "user", "content": word}], "max_tokens": 2},
        "expect": {"contains": [word]},
    }
    for word in ("apples", "pears")
]


@pytest.fixture(scope="module")
def environment(s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with make_folder() as folder, served(s3, archives, folder) as running:
        push(running.shop, "1.0.0")
        push(running.shop, "2.0.0", "3.0.0", "4.0.0")
        spoilt = {"V": "bad", "TINY_FAILS_ON": "hello-user"}
        running("push", archives.build("m", "9.0.0", environment=spoilt))
        dull = {"V": "dull", "TINY_FAILS_ON": "pears"}
        running("push", archives.build("m", "8.0.0", environment=dull))
        running("promote", "m", "1.0.0", "--wait")
        yield running


@pytest.fixture(autouse=True)
def as_it_was(environment: Served) -> Iterator[None]:
    yield
    environment("promote", "m", "1.0.0", "--wait")
    for version in environment.node.versions():
        if version != "1.0.0":
            environment.shop.cli("retire", "m", version, "--env", "dev", env=environment.shop.env)


def plan(environment: Served, **said: Any) -> Path:
    path = environment.shop.root / "release.yaml"
    path.write_text(json.dumps({"steps": [{"split": "50%", "bake": "1s"}], "gates": GATES} | said))
    return path


def release(environment: Served, version: str, *words: object) -> Ran:
    told = ("--stored", "m", "--version", version, "--env", "dev", "--name", "n0", "--json", *words)
    return environment.shop.cli("release", *told, env=environment.shop.env)


def users(environment: Served) -> AbstractContextManager[Counter[int]]:
    """Ten requests a second; their statuses."""
    message = [{"role": "user", "content": "hello-user"}]
    return asking(lambda: environment.node.ask(messages=message).status_code)


def shares(environment: Served) -> dict[str, int]:
    state = environment("status", "--env", "dev")["models"]["m"]
    return {version: share for version, share in state.items() if share}


def whats(told: dict[str, Any]) -> list[str]:
    return [one["what"] for one in told["story"]]


def test_a_version_goes_all_the_way(environment: Served, archives: TinyArchives) -> None:
    spec = archives.spec("m", {"V": "5"})
    (environment.shop.root / "q.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    steps = [{"split": "10%"}, {"split": "50%", "bake": "2s"}]
    asks = {"data": ["q.jsonl"], "against": "current", "no_regression": True}
    path = plan(environment, steps=steps, evaluate=asks)
    with users(environment) as statuses:
        told = environment(
            *(
                "release",
                spec,
                "--version",
                "5.0.0",
                "--env",
                "dev",
                "--plan",
                path,
                "--name",
                "n0",
            ),
            "-o",
            environment.shop.root / "dist",
        )
    assert told["state"] == "done"
    assert told["evaluation"]["prompts"] == 3
    assert told["evaluation"]["against"] == "1.0.0"
    assert any(" requests, 0 errors" in one for one in whats(told))
    assert shares(environment) == {"5.0.0": 100}
    assert set(statuses) == {200}
    changes = [one["what"] for one in environment("history", "--env", "dev")]
    assert changes.count("release m 5.0.0") == 4
    again = release(environment, "5.0.0", "--plan", path)
    assert (again.code, again.json["state"]) == (0, "done")


def test_errors_take_it_back(environment: Served) -> None:
    with users(environment):
        found = release(environment, "9.0.0", "--plan", plan(environment, patience="60s"))
    assert found.code == 3
    assert found.json["state"] == "taken back"
    assert "answers were errors" in found.json["reason"]
    assert "9.0.0 was taken back" in found.err
    assert shares(environment) == {"1.0.0": 100}
    assert environment.node.versions()["9.0.0"]["share"] == 0


def test_a_version_that_fails_its_evaluation_never_meets_a_user(environment: Served) -> None:
    (environment.shop.root / "q.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    path = plan(environment, evaluate={"data": ["q.jsonl"]})
    with users(environment) as statuses:
        found = release(environment, "8.0.0", "--plan", path)
    assert found.code == 3
    assert found.json["reason"] == "passed 2 of 3 prompts, all must"
    assert found.json["evaluation"]["failed"] == ["pears"]
    assert set(statuses) == {200}
    assert not any(one["version"] == "8.0.0" for one in environment.node.access_log())


def test_too_few_requests_judge_nothing(environment: Served) -> None:
    found = release(environment, "2.0.0", "--plan", plan(environment, patience="1s"))
    assert found.code == 3
    assert "only 0 of the 5 requests" in found.json["reason"]
    assert shares(environment) == {"1.0.0": 100}


def test_a_pause_lasts_until_somebody_goes_on(environment: Served) -> None:
    path = plan(environment, steps=[{"split": "20%", "pause": True}])
    found = release(environment, "2.0.0", "--plan", path)
    assert (found.code, found.json["state"]) == (0, "paused")
    assert "tslc release --stored m --env dev --version 2.0.0 --continue" in found.err
    assert shares(environment) == {"1.0.0": 80, "2.0.0": 20}
    assert release(environment, "2.0.0").json["state"] == "paused"
    other = release(environment, "3.0.0", "--plan", path)
    assert other.code == 3
    assert "m 2.0.0 is being released" in other.err
    changed = release(environment, "2.0.0", "--plan", plan(environment, then="stay"))
    assert changed.code == 3
    assert "by another plan" in changed.err
    assert release(environment, "2.0.0", "--continue").json["state"] == "done"
    assert shares(environment) == {"2.0.0": 100}


def test_abort_takes_it_back(environment: Served) -> None:
    release(
        environment, "2.0.0", "--plan", plan(environment, steps=[{"split": "20%", "pause": True}])
    )
    found = release(environment, "2.0.0", "--abort", "--reason", "it is Friday")
    assert (found.code, found.json["state"]) == (0, "taken back")
    assert found.json["reason"].startswith("aborted by ")
    assert "it is Friday" in found.json["reason"]
    assert shares(environment) == {"1.0.0": 100}
    assert release(environment, "2.0.0", "--abort").code == 3


def test_whoever_changes_the_split_by_hand_ends_the_release(environment: Served) -> None:
    path = plan(environment, steps=[{"split": "20%", "bake": "60s"}])
    with running(environment, "3.0.0", "--plan", path) as process:
        assert eventually(lambda: shares(environment).get("3.0.0") == 20, 60)
        environment("rollback", "m", "--env", "dev", "--reason", "I saw errors")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(out)["state"] == "superseded"
    assert "I saw errors" in err
    assert shares(environment) == {"1.0.0": 100}


def test_killed_anywhere_it_is_continued(environment: Served) -> None:
    path = plan(environment, steps=[{"split": "30%", "bake": "4s"}])
    with users(environment) as statuses:
        for seconds in (1.0, 2.0, 3.0, 3.5):
            with running(environment, "4.0.0", "--plan", path) as process:
                time.sleep(seconds)
                process.send_signal(signal.SIGKILL)
                process.wait()
        told = release(environment, "4.0.0", "--plan", path)
    assert (told.code, told.json["state"]) == (0, "done")
    assert set(statuses) == {200}
    assert environment("history", "verify", "--env", "dev")["flaws"] == []


def test_interrupted_it_says_how_to_go_on(environment: Served) -> None:
    path = plan(environment, steps=[{"split": "30%", "bake": "60s"}])
    with running(environment, "3.0.0", "--plan", path) as process:
        assert eventually(lambda: shares(environment).get("3.0.0") == 30, 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert shares(environment) == {"1.0.0": 70, "3.0.0": 30}
    assert release(environment, "3.0.0", "--abort").code == 0


def test_a_dry_run_tells_the_steps(environment: Served, archives: TinyArchives) -> None:
    words = ("release", archives.spec("m"), "--version", "7.0.0", "--env", "dev", "--dry-run")
    told = environment(*words, "--plan", plan(environment))
    assert [one.split()[0] for one in told["plan"]] == [
        *("build", "push", "load", "give", "watch", "give")
    ]
    assert shares(environment) == {"1.0.0": 100}
    assert not any(one["version"] == "7.0.0" for one in environment("list", "m"))


# --- eval ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["node", "router"])
def test_versions_side_by_side(environment: Served, tmp_path: Path, through: str) -> None:
    environment("split", "m", "1.0.0=100", "8.0.0=0", "--wait")
    data, junit = tmp_path / "q.jsonl", tmp_path / "out" / "junit.xml"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    where = ("--url", environment.node.url) if through == "router" else ("--name", "n0")
    words = ("eval", "m", "8.0.0", "--against", "1.0.0", "--data", data, "--junit", junit, *where)
    found = environment.shop.cli(*words, "--json", env=environment.shop.env)
    assert found.code == 3
    assert found.json["regressed"] == ["pears"]
    assert found.json["changed"] == ["pears"]
    assert found.json["reasons"] == ["passed 2 of 3 prompts, all must"]
    assert found.json["versions"]["1.0.0"]["passed"] == 3
    suites = {suite.name: suite for suite in JUnitXml.fromfile(str(junit))}
    assert (suites["m 8.0.0"].tests, suites["m 8.0.0"].failures) == (3, 1)
    assert suites["m 1.0.0"].failures == 0
    text = environment.shop.cli(*words, "--min-pass", "60%", env=environment.shop.env)
    assert text.code == 0
    assert "failed: pears  (1.0.0 passes it)" in text.out
    strict = environment.shop.cli(
        *words, "--min-pass", "60%", "--no-regression", env=environment.shop.env
    )
    assert strict.code == 3


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("m", "1.0.7"), 2, "1.0.7"),
        (("m", "1.0.0", "--data", "none.jsonl"), 2, "none.jsonl can't be read"),
        (("m", "1.0.0", "--no-regression"), 2, "--against"),
        (("m", "1.0.0", "--min-pass", "lots"), 2, "not a percentage"),
        (("m", "1.0.0", "--parallel", "0"), 2, "--parallel 0"),
        (("m", "1.0.0", "--url", "http://127.0.0.1:9"), 3, "does not answer"),
    ],
)
def test_wrong_input(environment: Served, words: Sequence[str], code: int, told: str) -> None:
    found = environment.shop.cli("eval", *words, "--name", "n0", env=environment.shop.env)
    assert found.code == code
    assert told in found.err + found.out


@contextmanager
def running(environment: Served, version: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A real process, which can be sent signals."""
    command = [sys.executable, "-m", "tslc", "release", "--stored", "m", "--version", version]
    process = subprocess.Popen(
        [*command, "--env", "dev", "--name", "n0", "--json", *map(str, words)],
        cwd=environment.shop.root,
        env={**os.environ, "TSLC_HOME": str(environment.shop.cli.home), **environment.shop.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
