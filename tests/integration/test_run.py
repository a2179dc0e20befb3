"""`tslc run`: a model at once, in the foreground, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from nodes import TINY, Cli, TinyArchives, eventually
from running import Running, running
from tslc.adapters.node_processes import wait_gone

pytestmark = pytest.mark.integration

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def tiny(archives: TinyArchives) -> Path:
    return archives.build("quick", environment={"TINY_SUBPROCESS": "1"})


def ask(run: Running, **headers: str) -> httpx.Response:
    return httpx.post(f"{run.url}/chat/completions", json=HELLO, headers=headers, timeout=30)


def answer(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"]).strip()


def slow_handler() -> str:
    """A handler whose engine never gets ready, but has started a process already."""
    source = (TINY / "tiny_handler.py").read_text()
    source = source.replace("import contextlib", "import asyncio\nimport contextlib", 1)
    wait = "        await asyncio.sleep(600)\n"
    return source.replace("        yield Engine(", f"{wait}        yield Engine(", 1)


def test_an_archive_is_served_until_sigterm(tiny: Path) -> None:
    with running(tiny, "--port", 0) as run:
        assert answer(ask(run)) == "hello hello"
        assert run.told["server"] == "uvicorn"
        assert run.url.endswith("/v1")
        shown = run.err.read_text()
        assert f"curl {run.url}/chat/completions" in shown
        assert f'OpenAI(base_url="{run.url}"' in shown
        family, folder = run.family(), run.folder()
        assert len(family) >= 4  # tslc, its watchman, the server, its reaper, the engine
        run.send(signal.SIGTERM)
        assert run.end(10) == 0
        assert wait_gone(family, 0.5) == ()
        assert not folder.exists()
        assert run.err.read_text().endswith("stopped\n")


def test_ctrl_c_ends_it_within_seconds_whatever_is_in_flight(tiny: Path) -> None:
    with running(tiny, "--port", 0) as run:
        body = {**HELLO, "max_tokens": 1000, "stream": True, "tiny": {"delay": 0.1}}
        url = f"{run.url}/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=30) as reply:
            assert next(reply.iter_lines()).startswith("data: ")
            family = run.family()
            run.send(signal.SIGINT)
            assert run.end(10) == 0
            assert wait_gone(family, 0.5) == ()


def test_nothing_outlives_a_tslc_that_is_killed(tiny: Path) -> None:
    with running(tiny, "--port", 0) as run:
        family, folder = run.family(), run.folder()
        run.send(signal.SIGKILL)
        assert run.end(10) == -signal.SIGKILL
        assert wait_gone(family, 10) == ()
        assert eventually(lambda: not folder.exists())


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_load_can_be_ended_too(archives: TinyArchives, number: signal.Signals, code: int) -> None:
    environment = {"TINY_SUBPROCESS": "1"}
    archive = archives.build("slow", environment=environment, handler=slow_handler())
    with running(archive, "--port", 0) as run:
        own = psutil.Process(run.process.pid)

        def engine_started() -> bool:
            return any("tiny engine" in " ".join(p.cmdline()) for p in own.children(recursive=True))

        assert eventually(engine_started, 30)
        family = [own, *own.children(recursive=True)]
        run.send(number)
        assert run.end(15) == code
        assert wait_gone(family, 10) == ()


def test_a_model_that_does_not_load_shows_its_own_error(cli: Cli, archives: TinyArchives) -> None:
    archive = archives.build("broken-run", environment={"TINY_FAIL_LOAD": "the weights are torn"})
    ran = cli("run", archive, "--port", 0)
    assert (ran.code, ran.out) == (5, "")
    assert "broken-run 1.0.0 did not load: RuntimeError: the weights are torn" in ran.err
    assert "at tiny_handler.py:" in ran.err


def test_a_load_that_takes_too_long_is_given_up(cli: Cli, archives: TinyArchives) -> None:
    archive = archives.build("late", config={"startupTimeout": 4}, handler=slow_handler())
    ran = cli("run", archive, "--port", 0)
    assert ran.code == 5
    assert "late 1.0.0 was not ready within 4 s" in ran.err


def test_a_server_that_ends_by_itself_ends_the_run(tiny: Path) -> None:
    with running(tiny, "--port", 0) as run:
        family = run.family()
        for process in family:
            if "tiny engine" in " ".join(process.cmdline()):
                process.kill()
        assert run.end(15) == 5
        assert wait_gone(family, 1) == ()
        assert "ended by itself" in run.err.read_text()
        assert "is dead; the worker ends" in run.err.read_text()


def test_a_port_in_use_is_named_with_its_holder_before_anything_is_done(
    cli: Cli, tiny: Path
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        for server in ("uvicorn", "torchserve"):
            started = time.monotonic()
            ran = cli("run", tiny, "--server", server, "--port", port)
            assert ran.code == 2
            assert f"port {port} is held by" in ran.err
            assert f"pid {os.getpid()}" in ran.err
            assert time.monotonic() - started < 5


def test_a_spec_is_built_and_kept_where_it_is_wished(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    spec, store = tiny.parents[1], tmp_path / "store"
    wishes = ["--vllm_engine.max_model_len", "64", "--set", "handler.log_level=error"]
    with running(spec, "--model-store", store, "--port", 0, *wishes) as run:
        assert answer(ask(run)) == "hello hello"
        config = yaml.safe_load((run.folder() / "nodes/run/content/model-config.yaml").read_text())
        assert config["handler"]["vllm_engine_config"] == {"max_model_len": 64}
        assert config["handler"]["log_level"] == "error"
    (kept,) = store.glob("*.mar")
    assert kept.name == "quick-1.0.mar"
    with running(spec, "--model-store", store, "--port", 0) as run:  # other flags, the same name
        assert answer(ask(run)) == "hello hello"
    kept.write_text("not an archive")
    foreign = cli("run", spec, "--model-store", store, "--port", 0)
    assert (foreign.code, kept.read_text()) == (3, "not an archive")
    refused = cli("run", spec, "--model_name", "other")
    assert (refused.code, "archive.yaml names the model" in refused.err) == (2, True)


def test_torchserve_serves_it_at_the_launchers_path(tiny: Path) -> None:
    with running(tiny, "--server", "torchserve", "--port", 0) as run:
        assert run.url.endswith("/predictions/quick/1.0.0/v1")
        assert ask(run).status_code == 400  # no key
        keys = json.loads(Path(run.told["key_file"]).read_text())
        assert answer(ask(run, authorization=f"Bearer {keys['inference']['key']}")) == "hello hello"
        family, folder = run.family(), run.folder()
        run.send(signal.SIGTERM)
        assert run.end(40) == 0
        assert wait_gone(family, 0.5) == ()
        assert not folder.exists()


def test_torchserve_without_keys_and_killed_leaves_nothing(tiny: Path) -> None:
    flags = ["--server", "torchserve", "--disable_token_auth", "--port", 0]
    with running(tiny, *flags) as run:
        assert run.told["key_file"] is None
        assert answer(ask(run)) == "hello hello"
        family, folder = run.family(), run.folder()
        assert any("java" in process.name() for process in family)
        run.send(signal.SIGKILL)
        run.end(10)
        assert wait_gone(family, 20) == ()
        assert eventually(lambda: not folder.exists(), 20)


def test_torchserve_shows_the_error_of_a_model_that_does_not_load(
    cli: Cli, archives: TinyArchives
) -> None:
    archive = archives.build("broken-there", environment={"TINY_FAIL_LOAD": "torn as well"})
    ran = cli("run", archive, "--server", "torchserve", "--port", 0)
    assert ran.code == 5
    assert "broken-there 1.0.0 did not load: RuntimeError: torn as well" in ran.err
    assert "model_log" not in ran.err  # it is gone
