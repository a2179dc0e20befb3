"""A knowledge base from folders: which files are in it, and what is said of the others."""

from __future__ import annotations

import pytest

from tslc.domain.archive_sections import RagSpec
from tslc.verbs.build_knowledge import read_knowledge


@pytest.fixture
def base(tmp_path):
    def reading(files, *named):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        told = []
        spec = RagSpec(named or ("kb",))
        return read_knowledge(spec, tmp_path, lambda problem, fix: told.append(problem)), told

    return reading


def paths_of(knowledge):
    return [one.path for one in knowledge.documents]


def test_documents_come_in_the_order_of_their_paths(base) -> None:
    knowledge, told = base({"kb/b.md": "b", "kb/a/z.txt": "z", "kb/c.html": "<p>c"})
    assert (paths_of(knowledge), told) == (["kb/a/z.txt", "kb/b.md", "kb/c.html"], [])
    assert [one.document for one in knowledge.passages] == paths_of(knowledge)


def test_what_is_no_document_is_told_and_left_out(base) -> None:
    files = {
        "kb/a.md": "a",
        "kb/b.docx": "b",
        "kb/README": "c",
        "kb/.DS_Store": "",
        "kb/._a.md": "",
    }
    knowledge, told = base(files)
    assert (paths_of(knowledge), told) == (["kb/a.md"], [])
    assert [warning.split(":")[0] for warning in knowledge.warnings] == [
        "kb/._a.md",
        "kb/README",
        "kb/b.docx",
    ]


def test_two_documents_of_one_title_are_both_in_it(base) -> None:
    knowledge, told = base({"kb/a.md": "# Same\n\none", "kb/b.md": "# Same\n\ntwo"})
    assert [one.title for one in knowledge.passages] == ["Same", "Same"] and told == []
    assert len({one.id for one in knowledge.passages}) == 2


def test_a_folder_that_is_empty_and_one_that_is_not_there_are_mistakes(base, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    _, told = base({"kb/a.md": "a"}, "kb", "none", "gone")
    assert told[0] == "none holds no document"
    assert "no file or folder" in told[1] and len(told) == 2


def test_a_link_that_leaves_the_folder_is_a_mistake(base, tmp_path) -> None:
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / "link.md").symlink_to("/etc/hostname")
    _, (told,) = base({"kb/a.md": "a"})
    assert "link.md is a link that leaves" in told


def test_two_folders_of_one_name_hide_none_of_their_documents(base) -> None:
    _, (told,) = base({"kb/a.md": "a", "other/kb/a.md": "b"}, "kb", "other/kb")
    assert told == "kb/a.md: two documents would have this name"


def test_a_folder_named_twice_is_in_it_once(base) -> None:
    knowledge, told = base({"kb/a.md": "a"}, "kb", "./kb")
    assert (paths_of(knowledge), told) == (["kb/a.md"], [])


def test_a_base_without_text_is_one_mistake(base) -> None:
    assert base({"kb/a.md": " ", "kb/b.txt": ""})[1] == ["no document holds any text"]
