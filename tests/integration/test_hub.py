"""Weights of the Hugging Face hub: huggingface_hub against a small server that speaks its API."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARDED = {
    "config.json": b"{}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors"}}',
    "model-1.safetensors": b"weights",
    "consolidated.safetensors": b"the same again",
    "pytorch_model.bin": b"pickle",
}
REPOSITORIES = {
    "org/sharded": SHARDED,
    "org/single": {n: c for n, c in SHARDED.items() if not n.startswith("model")},
}


def _about(repo: str, what: str) -> object:
    files = REPOSITORIES[repo]
    if what == "tree":
        return [{"type": "file", "path": n, "size": len(c), "oid": n} for n, c in files.items()]
    siblings = [{"rfilename": name} for name in files]
    return {"id": repo, "sha": COMMIT, "siblings": siblings}


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        parts = path.split("/")
        if path.startswith("api/models/"):
            body = json.dumps(_about("/".join(parts[2:4]), parts[4])).encode()
        elif len(parts) == 5:
            body = REPOSITORIES["/".join(parts[:2])][parts[4]]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def downloaded(hub: str, repo: str, home: Path) -> set[str]:
    """In a process of its own: huggingface_hub reads the hub's address when it is imported."""
    code = (
        "import sys\n"
        "from tslc.adapters.hugging_face_hub import download_weights\n"
        "from tslc.domain.archive_spec import HubWeights\n"
        f"print(download_weights(HubWeights({repo!r}, 'main')))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {path.name for path in Path(done.stdout.strip()).iterdir()}


def test_weights_that_are_there_twice_are_fetched_once(hub: str, tmp_path: Path) -> None:
    expected = set(SHARDED) - {"consolidated.safetensors", "pytorch_model.bin"}
    assert downloaded(hub, "org/sharded", tmp_path) == expected
    assert downloaded(hub, "org/single", tmp_path) == {"config.json", "consolidated.safetensors"}
