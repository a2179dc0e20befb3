"""A guarded version on the real TorchServe: its worker's two roads, and a guard that comes back."""

import json
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
import yaml

import nodes
from guard_server import guard_server
from guarded import BAD, BAD_TEXT, CHAT, SAFE_TEXT, ask, choices_of, each_kind

pytestmark = pytest.mark.integration

MODEL = "guarded"
HANDLER = '''
"""A guard around the tiny engine."""

from tiny_guard import TinyEngine

from tslc_handlers.guard_handler import GuardVLLMHandler


class Guarded(GuardVLLMHandler, TinyEngine):
    guarded_fields = frozenset({"tiny"})
'''


@pytest.fixture(scope="module")
def guard():
    with guard_server(BAD) as server:
        yield server


@pytest.fixture(scope="module")
def served(node, archives, guard):
    spec = Path(tempfile.mkdtemp(dir=archives.folder))
    for name in ("tiny_app.py", "tiny_guard.py"):
        shutil.copy(nodes.TINY / name, spec)
    (spec / "guarded.py").write_text(HANDLER)
    policy = {"url": guard.url, "window_tokens": 2}
    config = {**nodes.CONFIG, "handler": {"guard": policy}}
    (spec / "config.yaml").write_text(yaml.safe_dump(config))
    request = {"messages": [{"role": "user", "content": "hello"}], "tiny": {"say": ["hello"]}}
    golden = {"name": "hello", "request": request, "expect": {"contains": ["hello"]}}
    (spec / "golden.jsonl").write_text(json.dumps(golden) + "\n")
    about = {
        "model": MODEL,
        "handler": "guarded.py",
        "model_config": "config.yaml",
        "golden": "golden.jsonl",
        "extra_files": ["tiny_app.py", "tiny_guard.py"],
    }
    (spec / "archive.yaml").write_text(yaml.safe_dump(about))
    archives.cli.ok("build", spec, "--version", "1.0.0", "-o", spec / "dist")
    node.cli.ok("register", spec / "dist" / f"{MODEL}-1.0.0.mar")
    yield node
    node.cli.ok("unregister", MODEL, "1.0.0")


@pytest.fixture(params=["bridge", "door"])
def client(served, request):
    if request.param == "door":
        transport = httpx.HTTPTransport(uds=str(served.door(MODEL, "1.0.0")))
        where, headers = "http://door", {}
    else:
        transport = None
        where = f"{served.inference_url}/predictions/{MODEL}/1.0.0"
        headers = {"authorization": f"Bearer {served.inference_key()}"}
    with httpx.Client(transport=transport, base_url=where, headers=headers, timeout=30) as client:
        yield client


@each_kind
def test_a_guarded_worker_answers_refuses_and_cuts_on_both_roads(client, guard, stream):
    guard.reset()
    safe = client.post(CHAT, json=ask(CHAT, stream=stream))
    assert choices_of(safe) == {0: (SAFE_TEXT, "stop")}
    refused = client.post(CHAT, json=ask(CHAT, asked=f"a {BAD}?", stream=stream))
    assert choices_of(refused)[0] == ("I can't help with that.", "content_filter")
    cut = client.post(CHAT, json=ask(CHAT, BAD_TEXT, stream=stream))
    assert choices_of(cut)[0][1] == "content_filter"
    assert BAD not in cut.text


@each_kind
def test_a_worker_outlives_a_guard_that_does_not_judge(client, guard, stream):
    guard.reset()
    guard.down = "killed"
    answer = client.post(CHAT, json=ask(CHAT, stream=stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, 503)
    guard.reset()
    again = client.post(CHAT, json=ask(CHAT, stream=stream))
    assert choices_of(again) == {0: (SAFE_TEXT, "stop")}
