from __future__ import annotations

import json

import pytest

from tslc.domain.manifest import FileEntry, Manifest, Weights, canonical_json, path_problem
from tslc.errors import BadFile

ENTRY = FileEntry("a" * 64, 3)
FILES = {"tslc_handler.py": ENTRY, "golden.jsonl": ENTRY, "kb/a": ENTRY}


def manifest(**changes: object) -> Manifest:
    parts = {
        "model": "tiny",
        "version": "1.0.0",
        "handler": "tslc_handler.py",
        "files": FILES,
        "weights": Weights({"model.safetensors": ENTRY}),
        "golden": "golden.jsonl",
    }
    return Manifest(**{**parts, **changes})  # type: ignore[arg-type]


def test_a_manifest_is_canonical_json_with_the_weights_digest():
    document = json.loads(manifest().render())
    assert document["schema"] == 1
    assert document["weights"]["digest"].startswith("sha256:")
    assert document["weights"]["size"] == 3
    assert manifest().render() == canonical_json(document)
    assert json.loads(manifest(weights=None).render())["weights"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "no/slash"},
        {"model": "a..b"},
        {"version": "1 0"},
        {"version": ""},
        {"handler": "missing.py"},
        {"golden": "missing.jsonl"},
        {"files": {**FILES, "../up": ENTRY}},
        {"files": {**FILES, "kb": ENTRY}},
        {"files": {**FILES, "tslc-manifest.json": ENTRY}},
        {"files": {**FILES, "a": FileEntry("A" * 64, 3)}},
        {"files": {**FILES, "a": FileEntry("a" * 64, -1)}},
        {"weights": Weights({})},
        {"weights": Weights({"/abs": ENTRY})},
    ],
)
def test_a_manifest_that_makes_no_sense_can_not_be_made(changes):
    with pytest.raises(BadFile) as refused:
        manifest(**changes)
    assert len(refused.value.mistakes) == 1


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "a/../b", "./a", "a\\b", "a\nb", "\udcff", "..", "\x00"]
)
def test_only_plain_relative_paths_stand_in_an_archive(path):
    assert path_problem(path)


def test_every_mistake_of_a_manifest_is_named():
    document = json.loads(manifest().render())
    document["schema"] = 2
    document["modle"] = document.pop("model")
    document["files"]["kb/a"] = {"sha256": "a" * 64}
    document["weights"]["size"] += 1
    with pytest.raises(BadFile) as refused:
        Manifest.parse(canonical_json(document))
    where = {mistake.where for mistake in refused.value.mistakes}
    assert where == {"schema", "modle", "model", "files, 'kb/a'", "weights.size"}


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content + b" ",
        lambda content: content.replace(b'"model": "tiny"', b'"model": "x",\n  "model": "tiny"'),
        lambda content: content.replace(b'"size": 3', b'"size": 3.0'),
        lambda content: content.replace(b'"size": 3', b'"size": true'),
        lambda content: content.replace(b"a" * 64, b"b" * 64, 1),
        lambda content: b"\xff" + content,
        lambda content: b"[" * 100_000,
        lambda content: b"",
    ],
)
def test_a_manifest_that_tslc_did_not_write_is_refused(change):
    content = manifest(files={"tslc_handler.py": ENTRY, "golden.jsonl": ENTRY}).render()
    changed = change(content)
    assert changed != content
    try:
        assert Manifest.parse(changed).digest != Manifest.parse(content).digest
    except BadFile:
        return
