"""What `tslc diff` shows of two versions' knowledge."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

from tslc.domain.manifest import FileEntry
from tslc.domain.version_diff import DOCUMENTS, Part, diff


class Version(SimpleNamespace):
    """The files of a version in the store, and their content."""

    def __init__(self, documents, **index):
        listed = {p: {"sha256": s, "passages": n, "title": p} for p, (s, n) in documents.items()}
        texts = {DOCUMENTS: json.dumps(listed), "archive/index/vectors.usearch": str(listed)}
        texts |= {f"archive/index/{name}": text for name, text in index.items()}
        files = {
            path: FileEntry(hashlib.sha256(text.encode()).hexdigest(), len(text))
            for path, text in texts.items()
        }
        super().__init__(files=files, texts=texts)


def shown(one, other):
    read = lambda version, path: version.texts.get(path, "").encode() or None  # noqa: E731
    (part,) = diff(one, other, read)
    assert part.part is Part.INDEX
    return {change.what: (change.before, change.after) for change in part.changes}, part.same


def test_the_documents_that_changed_came_and_went_are_shown_and_what_follows_is_not() -> None:
    before = Version({"kb/a.md": ("1", 2), "kb/b.md": ("2", 1), "kb/c.md": ("3", 1)})
    after = Version({"kb/a.md": ("1", 2), "kb/b.md": ("9", 3), "kb/d.md": ("4", 1)})
    changes, same = shown(before, after)
    assert changes == {
        "kb/b.md": ("sha256:2 (1 passages)", "sha256:9 (3 passages)"),
        "kb/c.md": ("sha256:3 (1 passages)", None),
        "kb/d.md": (None, "sha256:4 (1 passages)"),
    }
    assert same == 1


def test_another_embedding_model_is_shown() -> None:
    one, other = ({"embedding/model.onnx": said} for said in ("a", "b"))
    changes, same = shown(Version({"a": ("1", 1)}, **one), Version({"a": ("1", 1)}, **other))
    assert (list(changes), same) == (["index/embedding/model.onnx"], 1)


def test_an_index_that_lists_no_documents_is_its_files() -> None:
    one, other = Version({}), Version({"a": ("1", 1)})
    one.texts[DOCUMENTS] = other.texts[DOCUMENTS] = "no json"
    changes, _ = shown(one, other)
    assert "index/vectors.usearch" in changes
