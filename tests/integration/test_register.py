"""`tslc register`: what is kept, what is taken off again, and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nodes import GOOD_PROMPT, TINY, Node, TinyArchives, eventually

pytestmark = pytest.mark.integration
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}
HANDLER = (TINY / "tiny_handler.py").read_text()


def test_a_load_that_raises_shows_the_workers_error_and_leaves_nothing(
    node: Node, archives: TinyArchives
) -> None:
    before = {process.pid for process in node.processes()}
    archive = archives.build("broken", environment={"TINY_FAIL_LOAD": "the tiny weights are torn"})
    ran = node.cli("register", archive)
    assert ran.code == 5
    assert "broken 1.0.0 did not load: RuntimeError: the tiny weights are torn" in ran.err
    assert "tiny_handler.py:" in ran.err
    assert "Worker died" not in ran.err
    assert node.versions("broken") == {}
    assert {process.pid for process in node.processes()} == before
    assert not (node.root / "model_store" / archive.name).exists()


def test_a_handler_that_cannot_be_imported_names_the_import(
    node: Node, archives: TinyArchives
) -> None:
    source = HANDLER.replace("import contextlib\n", "import contextlib\nimport no_such_package\n")
    ran = node.cli("register", archives.build("unimportable", handler=source))
    assert ran.code == 5
    assert "ModuleNotFoundError: No module named 'no_such_package'" in ran.err
    assert node.versions("unimportable") == {}


def test_a_worker_that_ends_without_a_word_is_not_waited_for(
    node: Node, archives: TinyArchives
) -> None:
    source = HANDLER.replace(
        "        environment = self.config.environment\n",
        "        environment = self.config.environment\n        os.kill(os.getpid(), 9)\n",
    )
    started = time.monotonic()
    ran = node.cli("register", archives.build("silent", handler=source))
    assert (ran.code, time.monotonic() - started < 30) == (5, True)
    assert "silent 1.0.0 did not load" in ran.err
    assert node.versions("silent") == {}


def test_a_failed_golden_prompt_unregisters_and_shows_what_came(
    node: Node, archives: TinyArchives
) -> None:
    wrong = {**GOOD_PROMPT, "name": "capital", "expect": {"contains": ["Paris"]}}
    ran = node.cli("register", archives.build("wrong", golden=[GOOD_PROMPT, wrong]))
    assert ran.code == 3
    assert "wrong 1.0.0 failed 1 of 2 golden prompts" in ran.err
    assert "Paris" in ran.err
    assert "hello hello hello" in ran.err
    assert node.versions("wrong") == {}
    assert not list(node.run_dir.glob("wrong@*"))


def test_a_version_never_changes_its_content(node: Node, archives: TinyArchives) -> None:
    node.cli.ok("register", archives.build("fixed"))
    ran = node.cli("register", archives.build("fixed", handler_config={"log_level": "error"}))
    assert ran.code == 3
    assert "registered already, with other content" in ran.err
    node.cli.ok("unregister", "fixed", "1.0.0")


def test_an_archive_changed_after_its_build_is_refused(node: Node, archives: TinyArchives) -> None:
    archive = archives.build("changed")
    content = bytearray(archive.read_bytes())
    place = content.index(b"class TinyHandler")
    content[place] ^= 1
    archive.write_bytes(content)
    ran = node.cli("register", archive)
    assert ran.code == 2
    assert "tiny_handler.py" in ran.err


def test_an_interrupted_register_takes_its_version_off_again(
    node: Node, archives: TinyArchives
) -> None:
    source = HANDLER.replace(
        "        environment = self.config.environment\n",
        "        environment = self.config.environment\n        await asyncio.sleep(60)\n",
    ).replace("import contextlib\n", "import asyncio\nimport contextlib\n")
    archive = archives.build("slow", handler=source)
    running = subprocess.Popen(
        [sys.executable, "-m", "tslc", "register", str(archive)],
        env={**os.environ, "TSLC_HOME": str(node.cli.home)},
        stderr=subprocess.PIPE,
    )
    assert eventually(lambda: "1.0.0" in node.versions("slow"), 30)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    assert node.versions("slow") == {}


def test_an_archive_is_what_it_holds_not_what_its_file_is_called(
    node: Node, archives: TinyArchives
) -> None:
    first, second = (archives.build("named", version) for version in ("1.0.0", "2.0.0"))
    store = node.root / "model_store"
    node.cli.ok("register", first)
    other = first.parent / "other"
    other.mkdir()
    renamed = second.rename(other / "named-1.0.0.mar")
    ran = node.cli("register", "named", "1.0.0", "--dist", other)
    assert (ran.code, "there are different archives of named 1.0.0" in ran.err) == (3, True)
    node.cli.ok("register", renamed)
    assert set(node.versions("named")) == {"1.0.0", "2.0.0"}
    assert {path.name for path in store.glob("named-*")} == {"named-1.0.0.mar", "named-2.0.0.mar"}
    assert "the same archive" in node.cli.ok("register", first).out
    assert (
        node.cli.ok("unregister", "named", "1.0.0", "--force", "--json").json["new_default"]
        == "2.0.0"
    )
    node.cli.ok("unregister", "named", "2.0.0")


@pytest.mark.parametrize("kind", ["tgz", "no-archive"])
def test_every_format_of_archive_loads(node: Node, archives: TinyArchives, kind: str) -> None:
    spec = archives.build(f"kind-{kind}").parents[1]
    node.cli.ok("build", spec, "--version", "2.0.0", "--format", kind, "-o", spec / "other")
    node.cli.ok("register", f"kind-{kind}", "2.0.0", "--dist", spec / "other")
    assert node.versions(f"kind-{kind}")["2.0.0"]["ready"]
    node.cli.ok("unregister", f"kind-{kind}", "2.0.0")


def test_weights_are_found_by_digest_and_verified(node: Node, archives: TinyArchives) -> None:
    # A safetensors file of no tensors: the length of its header, and the header.
    tensors = (2).to_bytes(8, "little") + b"{}"
    weights = {"config.json": json.dumps(MODEL).encode(), "model.safetensors": tensors}
    archive = archives.build("weighty", weights=weights)
    links = list((archive.parent / "weights").iterdir())
    folder = links[0].resolve()
    (folder / "model.safetensors").write_bytes(tensors + b"\0")
    ran = node.cli("register", archive)
    assert ran.code == 2
    assert "not those the archive was built with: model.safetensors" in ran.err
    (folder / "model.safetensors").write_bytes(tensors)
    links[0].unlink()
    ran = node.cli("register", archive)
    assert (ran.code, "hint: ln -s" in ran.err) == (2, True)
    links[0].symlink_to(folder)
    node.cli.ok("register", archive)
    assert (node.root / "weights" / links[0].name).resolve() == folder
    node.cli.ok("unregister", "weighty", "1.0.0")
