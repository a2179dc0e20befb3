"""`tslc build` from the outside: what comes out, and what it says about what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
import zipfile
from pathlib import Path

import pytest

from tslc.adapters.archive_file import open_archive
from tslc.domain.manifest import FileEntry

EVERY_FORMAT = pytest.mark.parametrize("archive_format", ["mar", "tgz", "no-archive"])


def content(path: Path) -> object:
    if path.is_file():
        return path.read_bytes()
    return {
        (p.relative_to(path), p.stat().st_mode, p.stat().st_mtime): p.is_file() and p.read_bytes()
        for p in path.rglob("*")
    }


@EVERY_FORMAT
def test_the_same_input_gives_the_same_bytes_in_another_folder_at_another_time(
    new_workshop, archive_format
):
    one, other = new_workshop("one"), new_workshop("a/longer, [other] folder")
    one.age(1_000_000_000)
    other.age(1_700_000_000)
    (other.folder / "spec" / "notes.txt").chmod(0o600)
    (other.folder / "spec" / "kb" / "index.bin").chmod(0o777)
    first, second = (w.built("--format", archive_format) for w in (one, other))
    assert content(first) == content(second)
    assert first.name == second.name


@EVERY_FORMAT
def test_an_archive_opens_and_its_parts_are_what_went_in(workshop, archive_format):
    archive = open_archive(workshop.built("--format", archive_format))
    manifest = archive.manifest
    assert (manifest.model, manifest.version, manifest.handler) == (
        *("tiny", "1.0.0"),
        "tslc_handler.py",
    )
    assert archive.golden == (workshop.folder / "spec/golden.jsonl").read_text()
    assert archive.model_config == (workshop.folder / "spec/config.yaml").read_text()
    assert archive.read("kb/deep/fact.txt") == b"a fact\n"
    assert {"notes.txt", "requirements.txt", "tslc_handlers/vllm_handler.py"} <= {*manifest.files}
    assert not any("__pycache__" in path for path in manifest.files)


def test_every_format_has_the_same_manifest(workshop):
    archives = [workshop.built("--format", f) for f in ("mar", "tgz", "no-archive")]
    assert len({open_archive(path).manifest.digest for path in archives}) == 1


def test_the_manifest_names_weights_by_digest_and_they_stay_beside_the_archive(workshop):
    archive = workshop.built()
    weights = open_archive(archive).manifest.weights
    assert weights is not None
    sha256 = hashlib.sha256((workshop.weights / "model.safetensors").read_bytes()).hexdigest()
    size = (workshop.weights / "model.safetensors").stat().st_size
    assert weights.files["model.safetensors"] == FileEntry(sha256, size)
    link = workshop.dist / "weights" / weights.hex
    assert link.is_symlink()
    assert link.resolve() == workshop.weights.resolve()
    assert archive.stat().st_size < size


def test_one_changed_byte_of_the_weights_changes_the_manifest_even_when_its_time_is_set_back(
    workshop,
):
    path = workshop.weights / "model.safetensors"
    os.utime(path, (1_000_000_000, 1_000_000_000))
    before = open_archive(workshop.built()).manifest
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\x01")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    after = open_archive(workshop.built("--force")).manifest
    assert before.weights != after.weights
    assert before.digest != after.digest
    assert before.files == after.files


def test_torchservers_own_tools_can_read_what_was_packed(workshop):
    with zipfile.ZipFile(workshop.built()) as mar:
        assert mar.testzip() is None
        stock = json.loads(mar.read("MAR-INF/MANIFEST.json"))
    assert stock["model"] == {
        "modelName": "tiny",
        "modelVersion": "1.0.0",
        "handler": "tslc_handler.py",
        "requirementsFile": "requirements.txt",
        "configFile": "model-config.yaml",
    }
    with tarfile.open(workshop.built("--format", "tgz")) as tgz:
        assert {name.split("/")[0] for name in tgz.getnames()} == {"tiny"}


def test_an_archive_that_exists_with_the_same_content_is_a_success_that_says_so(workshop):
    workshop.built()
    again = workshop.build("--json")
    assert (again.returncode, json.loads(again.stdout)["outcome"]) == (0, "unchanged")
    assert "unchanged" in workshop.build().stdout


@EVERY_FORMAT
def test_an_archive_that_exists_with_other_content_is_refused_unless_forced(
    workshop, archive_format
):
    archive = workshop.built("--format", archive_format)
    before = content(archive)
    workshop.write("notes.txt", "another note\n")
    refused = workshop.build("--format", archive_format)
    assert refused.returncode == 3
    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert content(archive) == before
    forced = workshop.build("--format", archive_format, "--force", "--json")
    assert json.loads(forced.stdout)["outcome"] == "replaced"
    assert content(archive) != before
    assert {path.name for path in workshop.dist.iterdir()} == {archive.name, "weights"}


def test_a_dry_run_prints_the_plan_and_writes_nothing(workshop):
    done = workshop.build("--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert (done.returncode, plan["exists"], plan["golden_prompts"]) == (0, False, 1)
    assert "kb/deep/fact.txt" in plan["files"]
    assert not workshop.dist.exists()


def test_set_changes_single_settings_of_the_model_config(workshop):
    archive = workshop.built("--set", "handler.system_prompt=Be brief.")
    assert "system_prompt: Be brief." in open_archive(archive).model_config


def test_a_spec_with_five_mistakes_shows_five_each_with_a_fix(workshop):
    workshop.write(
        "archive.yaml",
        "model: tiny/er\nhandlr: vllm\nhandler: vllm\nmodel_config: nowhere.yaml\n"
        "weights: ${NO_SUCH_VARIABLE}\ngolden: golden.jsonl\n",
    )
    workshop.write("golden.jsonl", "")
    done = workshop.build()
    assert done.returncode == 2
    assert "has 5 mistakes" in done.stderr
    assert done.stderr.count("fix: ") == 5
    for part in (
        "line 1, model: 'tiny/er'",
        "line 2, handlr: unknown key 'handlr'",
        "write 'handler'",
        "line 4, model_config: no file",
        "the environment has no NO_SUCH_VARIABLE",
        "golden.jsonl: the file: no golden prompts",
    ):
        assert part in done.stderr
    assert not workshop.dist.exists()


def test_mistakes_of_the_files_a_spec_names_are_shown_with_its_own(workshop):
    (workshop.weights / "config.json").unlink()
    (workshop.weights / "model.safetensors").write_bytes(b"version https://git-lfs")
    workshop.write("config.yaml", "handler:\n  vllm_engine_config:\n    max_model_leng: 5\n")
    workshop.write("golden.jsonl", '{"request": {"prompt": "x"}, "expect": {}}\n{\n')
    (workshop.folder / "spec/notes.txt").unlink()
    done = workshop.build("--version", "1..0")
    assert done.returncode == 2
    for part in (
        "no config.json",
        "Git LFS pointer",
        "max_model_leng",
        "line 1, expect",
        "line 2: not JSON",
        "notes.txt",
        "'1..0' holds '..'",
    ):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda w: (w.weights / "model.safetensors").unlink(), "no .safetensors file"),
        (lambda w: (w.weights / "model.safetensors").write_bytes(b"\xff" * 9), "cut short"),
        (
            lambda w: (w.weights / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-1.safetensors"}}'
            ),
            "names model-1.safetensors, which is missing",
        ),
        (lambda w: w.write("archive.yaml", "model: [\n"), "not YAML"),
        (lambda w: w.write("kb/.git/config", "x"), "is a hidden folder"),
        (lambda w: (w.folder / "spec/kb/up").symlink_to(".."), "is a link to a folder"),
    ],
)
def test_what_can_not_be_packed_is_said(workshop, spoil, expected):
    spoil(workshop)
    done = workshop.build()
    assert done.returncode == 2
    assert expected in done.stderr


def test_an_extra_file_can_not_take_the_place_of_another(workshop):
    workshop.write("more/tslc_handlers/vllm_handler.py", "")
    spec = (workshop.folder / "spec/archive.yaml").read_text()
    workshop.write("archive.yaml", spec.replace("kb]", "more/tslc_handlers]"))
    done = workshop.build()
    assert done.returncode == 2
    assert "tslc_handlers/vllm_handler.py can't be added" in done.stderr


def test_a_handler_of_ones_own_is_the_entry_under_its_own_name(workshop):
    source = "from tslc_handlers import VLLMHandler\nclass Mine(VLLMHandler):\n    pass\n"
    workshop.write("my_handler.py", source)
    spec = (workshop.folder / "spec/archive.yaml").read_text()
    workshop.write("archive.yaml", spec.replace("handler: vllm", "handler: my_handler.py"))
    archive = open_archive(workshop.built())
    assert archive.manifest.handler == "my_handler.py"
    assert archive.read("my_handler.py").decode() == source
    assert "tslc_handler.py" not in archive.manifest.files


def test_a_handler_that_torchserve_could_not_load_is_not_packed(workshop):
    workshop.write("service.py", "class A(B): pass\nclass C(B):\n  def preprocess(self, r): ...\n")
    spec = (workshop.folder / "spec/archive.yaml").read_text()
    workshop.write("archive.yaml", spec.replace("handler: vllm", "handler: service.py"))
    done = workshop.build()
    assert done.returncode == 2
    assert "2 classes, TorchServe wants one: A (line 1), C (line 2)" in done.stderr
    assert "a module 'service' exists already" in done.stderr


def test_a_warning_of_lint_is_shown_and_does_not_stop_the_build(workshop):
    config = (workshop.folder / "spec/config.yaml").read_text()
    workshop.write("config.yaml", config.replace("    enforce_eager: true\n", ""))
    done = workshop.build("--json")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert json.loads(done.stdout)["outcome"] == "built"


def test_a_folder_that_can_not_be_written_to_is_bad_input(workshop):
    workshop.write("../dist", "a file")
    done = workshop.build()
    assert done.returncode == 2
    assert "can't write to dist" in done.stderr


@pytest.mark.parametrize("output", ["dist", "./deep/er/dist", "absolute"])
def test_other_folders_named_like_the_model_are_left_alone(workshop, tmp_path, monkeypatch, output):
    """torch-model-archiver by itself deletes <temporary folder>/<model> first, and Python takes
    /tmp where TMPDIR leads nowhere."""
    model = f"tiny-{uuid.uuid4().hex}"
    spec = (workshop.folder / "spec/archive.yaml").read_text()
    workshop.write("archive.yaml", spec.replace("model: tiny", f"model: {model}"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folders = [tmp_path / model, Path("/tmp", model)]
    try:
        for folder in folders:
            folder.mkdir()
            (folder / "precious").write_text("mine")
        workshop.built("-o", str(tmp_path / "out") if output == "absolute" else output)
        for folder in folders:
            assert [path.name for path in folder.iterdir()] == ["precious"]
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def test_building_imports_neither_torch_nor_the_engine_nor_the_handlers():
    code = (
        "import sys, tslc.cli.build\n"
        "print({'torch', 'vllm', 'ts', 'transformers', 'tslc_handlers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
