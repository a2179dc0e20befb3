"""TorchServe's real worker process, the test in the frontend's place: every message as sent."""

import copy
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

pytestmark = pytest.mark.integration

TINY = Path(__file__).parents[1] / "tiny_engine"


@dataclass
class Prediction:
    code: int
    status: int
    headers: dict[str, str]
    body: bytes


class Frontend:
    """What TorchServe's Java side says to a worker, and how it reads the answers."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], run_dir: Path) -> None:
        self.process = process
        self.run_dir = run_dir
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))

    def load(self, folder: Path) -> None:
        self._socket.sendall(
            b"L"
            + self._text("m")
            + self._text(str(folder))
            + struct.pack("!i", 1)
            + self._text("tiny_handler.py")
            + struct.pack("!i", -1)
            + self._text("")
            + b"\0"
        )
        assert self._int() == 200
        self._read(self._int())
        assert self._int() == -1

    def ask(self, number: str, path: str, body: bytes) -> None:
        headers = {"url_path": path, "content-type": "application/json"}
        message = b"I" + self._text(number)
        for name, value in headers.items():
            message += self._text(name) + self._text(value)
        message += struct.pack("!i", -1)
        message += self._text("body") + self._text("application/json") + self._text(body)
        self._socket.sendall(message + struct.pack("!ii", -1, -1))

    def answer(self) -> Prediction:
        code = self._int()
        self._read(self._int())
        self._read(self._int())  # the request's id
        self._read(self._int())  # the content type, again among the headers
        status = self._int()
        self._read(self._int())
        headers = {}
        for _ in range(self._int()):
            name = self._read(self._int()).decode()
            headers[name] = self._read(self._int()).decode()
        body = self._read(self._int())
        assert self._int() == -1
        return Prediction(code, status, headers, body)

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def leave(self) -> None:
        self._socket.close()

    def door(self) -> httpx.Client:
        (path,) = self.run_dir.glob("m@*.sock")
        transport = httpx.HTTPTransport(uds=str(path))
        return httpx.Client(transport=transport, base_url="http://door", timeout=5)

    @staticmethod
    def _text(text: str | bytes) -> bytes:
        data = text.encode() if isinstance(text, str) else text
        return struct.pack("!i", len(data)) + data

    def _int(self) -> int:
        return int(struct.unpack("!i", self._read(4))[0])

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, "the worker closed the connection"
            data += piece
        return data


@contextmanager
def worker_in(folder: Path) -> Iterator[Frontend]:
    import ts

    import tslc_handlers

    model, run = folder / "model", folder / "run"
    shutil.copytree(TINY, model)
    shutil.copytree(Path(tslc_handlers.__file__).parent, model / "tslc_handlers")
    (model / "MAR-INF").mkdir()
    about = {"modelName": "m", "modelVersion": "1.0", "configFile": "config.yaml"}
    (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": about}))
    (model / "config.yaml").write_text("asyncCommunication: true\n")
    home = Path(ts.__file__).parent
    path = folder / ".ts.sock.9000"
    command = [
        *(sys.executable, str(home / "model_service_worker.py")),
        *("--sock-type", "unix", "--sock-name", str(path), "--async"),
        *("--metrics-config", str(home / "configs" / "metrics.yaml")),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(model),
        "TSLC_RUN_DIR": str(run),
        "TS_DECODE_INPUT_REQUEST": "false",
    }
    process = subprocess.Popen(command, cwd=model, env=environment, stdout=subprocess.PIPE)
    try:
        for line in process.stdout:
            if b"Torch worker started" in line:
                break
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            os.sched_yield()
        frontend = Frontend(path, process, run)
        frontend.load(model)
        yield frontend
        frontend.leave()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def frontend():
    folder = Path(tempfile.mkdtemp(prefix="tslc-", dir="/tmp"))
    with worker_in(folder) as frontend:
        yield frontend
    shutil.rmtree(folder, ignore_errors=True)


def ask(**more):
    return json.dumps({"prompt": "a b", "max_tokens": 2, **more}).encode()


def test_a_success_is_a_body_and_an_empty_end(frontend):
    frontend.ask("1", "v1/completions", ask())
    body, end = frontend.answer(), frontend.answer()
    assert (body.code, body.status, body.headers["ts_stream_next"]) == (200, 200, "true")
    assert json.loads(body.body)["choices"][0]["text"] == "a b "
    assert (end.code, end.headers["ts_stream_next"], end.body) == (200, "false", b"")


def test_an_error_is_one_whole_message_without_the_stream_header_and_an_empty_end(frontend):
    for content, status in ((b"{", 400), (ask(tiny={"hook": "raise"}), 500)):
        frontend.ask("1", "v1/completions", content)
        body, end = frontend.answer(), frontend.answer()
        assert (body.code, body.status) == (200, status), "the message's own code is always 200"
        assert "ts_stream_next" not in body.headers
        assert json.loads(body.body)["error"]["code"] == status
        assert (end.headers["ts_stream_next"], end.body) == ("false", b"")


def test_an_engine_that_fails_in_mid_stream_ends_that_stream_and_nothing_else(frontend):
    frontend.ask("1", "v1/completions", ask(stream=True, tiny={"crash_after": 1}))
    first, end = frontend.answer(), frontend.answer()
    assert (first.code, end.code) == (200, 200), "any other code goes to every request in flight"
    assert b'"a "' in first.body
    assert (end.headers["ts_stream_next"], end.body) == ("false", b"")


def test_a_frontend_that_does_not_read_holds_nobody_up(frontend):
    frontend.ask("1", "v1/completions", ask(prompt="lighthouse" * 200, max_tokens=4096))
    with frontend.door() as door:
        deadline = time.monotonic() + 20
        while 'door="bridge"' not in door.get("/metrics").text and time.monotonic() < deadline:
            os.sched_yield()
        started = time.monotonic()
        assert door.post("/v1/completions", content=ask()).status_code == 200
        assert time.monotonic() - started < 2
    size = 0
    while (piece := frontend.answer()).headers["ts_stream_next"] == "true":
        size += len(piece.body)
    assert size > 8_000_000


def test_a_worker_whose_loop_broke_ends(frontend):
    frontend.say(b"?")  # no command of the protocol: TorchServe's reading thread raises
    assert frontend.process.wait(timeout=5) == 1


def test_a_worker_ends_with_its_frontends_connection(frontend):
    frontend.leave()
    assert frontend.process.wait(timeout=5) == 0


def test_a_requests_context_is_its_own_and_costs_nothing():
    from tslc_handlers.frontend_socket import give_own_contexts

    metrics = SimpleNamespace(request_ids=None, cache={"large": object()})
    context = SimpleNamespace(metrics=metrics, request_ids=None, model_yaml_config={})
    give_own_contexts(context)
    first, second = copy.deepcopy(context), copy.deepcopy(context)
    first.request_ids = first.metrics.request_ids = {0: "first"}
    assert second.request_ids is None
    assert second.metrics.request_ids is None
    assert first.metrics.cache is metrics.cache, "what all requests share is not copied"
