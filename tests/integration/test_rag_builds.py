"""Building a knowledge base and asking it with `tslc rag`: the same bytes, and clear mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from knowledge import QUESTIONS, SUPPORT_BOT, Library

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Library:
    return Library.at(tmp_path_factory.mktemp("one") / "l", SUPPORT_BOT / "knowledge")


@pytest.fixture(scope="module")
def archive(library) -> Path:
    return library.built()


@pytest.fixture
def empty(tmp_path) -> Library:
    return Library.at(tmp_path / "l")


def test_a_copy_elsewhere_of_another_time_and_hash_seed_gives_the_same_bytes(
    library, archive, tmp_path
):
    other = Library.at(tmp_path / "elsewhere", SUPPORT_BOT / "knowledge")
    for number, path in enumerate(sorted(other.folder.rglob("*"))):
        os.utime(path, (1e9 + number, 1e9 + number))
    again = other.built("1.0.0", env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"})
    assert again.read_bytes() == archive.read_bytes()


def test_the_index_has_a_digest_that_follows_its_documents(empty):
    empty.write("lamp.md", "# Lamp\n\nIt costs 10 euros.\n")
    empty.write("light.md", "# Light\n\nIt costs 20 euros.\n")
    first = empty.build("1.0.0").json["index"]
    assert (first["documents"], first["passages"]) == (2, 2)
    assert first["digest"].startswith("sha256:")
    empty.write("light.md", "# Light\n\nIt costs 21 euros.\n")
    changed = empty.build("1.0.2").json["index"]
    assert changed["digest"] != first["digest"]


def test_query_shows_what_is_found_and_why(library, archive):
    done = library.cli.ok(
        "rag", "query", archive, "How bright is the Aurora desk lamp?", "--top-k", "2"
    )
    first, why, text, *_ = done.out.splitlines()
    assert first == "1. Lamps for the home  [knowledge/products-home.md#1]"
    assert "words 1" in why or "vector 1" in why
    assert "Aurora desk lamp" in text
    found = library.cli.ok(
        "rag", "query", archive, "--json", "--before", "Is it waterproof?", "--", "--Comet 80?"
    ).json
    assert found[0]["document"] == "knowledge/products-bike.md"
    assert "conversation" in {name for one in found for name in one["why"]}


def test_eval_of_the_support_bots_questions_finds_nearly_all(library, archive):
    figures = library.cli.ok("rag", "eval", archive, QUESTIONS, "--top-k", "3", "--json").json
    assert figures["questions"] >= 25 and figures["k"] == 3
    assert figures["recall"] >= 0.95 and figures["mrr"] >= 0.85


def test_eval_prints_its_figures_and_what_was_missed(library, archive, tmp_path):
    questions = tmp_path / "qa.jsonl"
    lines = [("How long is the warranty?", "warranty.md"), ("warranty", "mounting-guide.pdf")]
    questions.write_text(
        "".join(
            json.dumps({"question": q, "relevant": [f"knowledge/{d}"]}) + "\n" for q, d in lines
        )
    )
    done = library.cli.ok("rag", "eval", archive, questions, "--top-k", "1")
    assert done.out.splitlines() == [
        "missed: warranty (knowledge/mounting-guide.pdf)",
        "recall@1  0.500",
        "MRR       0.500",
        "questions 2",
    ]


def test_every_mistake_of_a_file_of_questions_is_told_at_once(library, archive, tmp_path):
    questions = tmp_path / "qa.jsonl"
    questions.write_text(
        'no json\n\n{"question": "x"}\n[1]\n{"question": "x", "relevant": [1]}\n'
        '{"question": "x", "relevant": ["a"], "k": 3}\n{"question": 5, "relevant": ["a"]}\n'
    )
    done = library.cli("rag", "eval", archive, questions)
    assert done.code == 2
    assert "has 6 mistakes" in done.err
    for line in (1, 3, 4, 5, 6, 7):
        assert f"line {line}" in done.err


def test_a_question_about_a_document_that_is_not_there_is_a_mistake(library, archive, tmp_path):
    questions = tmp_path / "qa.jsonl"
    questions.write_text('{"question": "x", "relevant": ["knowledge/none.md"]}\n')
    done = library.cli("rag", "eval", archive, questions)
    assert done.code == 2 and "knowledge/none.md: the archive has no such document" in done.err


def test_wrong_archives_and_empty_questions_are_bad_input(library, archive, tmp_path):
    assert library.cli("rag", "query", archive, " ").code == 2
    none = library.cli("rag", "query", tmp_path / "none.mar", "x")
    assert none.code == 2 and "none.mar" in none.err
    broken = tmp_path / "broken.mar"
    broken.write_bytes(archive.read_bytes()[:-100])
    assert library.cli("rag", "query", broken, "x").code == 2


def test_an_archive_that_was_changed_is_not_asked(library, tmp_path):
    folder = library.built("1.0.0", "--format", "no-archive", "-o", str(tmp_path / "d"))
    with (folder / "index" / "passages.jsonl").open("a") as file:
        file.write("\n")
    done = library.cli("rag", "query", folder, "x")
    assert done.code == 2 and "index/passages.jsonl" in done.err


def test_every_document_that_is_wrong_is_told_by_its_file(empty):
    empty.write("good.md", "# Good\n\nA text.\n")
    empty.write("broken.pdf", b"%PDF-1.4\nnothing more")
    empty.write("binary.txt", b"a\0b\xff")
    with empty.write("long.txt", "").open("wb") as file:
        file.truncate(50_000_000)
    (empty.folder / "none").mkdir()
    empty.write_spec(knowledge=["knowledge", "none", "missing"])
    done = empty.build()
    assert done.code == 2 and "has 5 mistakes" in done.err
    for said in (
        "knowledge/broken.pdf: not a PDF that can be read",
        "knowledge/binary.txt: it holds binary data, not text",
        "knowledge/long.txt: 50 MB; a document has at most 16 MiB",
        "none holds no document",
        "no file or folder",
    ):
        assert said in done.err, said


def test_what_only_looks_wrong_is_a_warning_and_is_built(empty):
    empty.write("good.md", "# Good\n\nA text.\n")
    empty.write("copy.md", "# Good\n\nA text.\n")
    empty.write("empty.md", "")
    empty.write("latin.txt", "Die Lampen haben eine Größe für übliche Tische.\n".encode("latin-1"))
    empty.write("photo.jpg", b"\xff\xd8")
    empty.write(".hidden.md", "# Hidden")
    done = empty.build()
    assert done.code == 0, done.err
    assert done.json["index"]["documents"] == 4
    for said in (
        "knowledge/good.md: the same file as knowledge/copy.md",
        "knowledge/empty.md: there is no text in it",
        "knowledge/latin.txt: not UTF-8; read as ",
        "knowledge/photo.jpg: left out",
        "knowledge/.hidden.md: left out, as hidden files are",
    ):
        assert said in done.err, said


def test_a_knowledge_base_without_a_word_is_a_mistake(empty):
    empty.write("empty.md", " \n")
    done = empty.build()
    assert done.code == 2 and "no document holds any text" in done.err


def test_an_embedding_model_that_is_none_is_told(empty):
    empty.write("good.md", "# Good\n\nA text.\n")
    empty.write_spec(embedding="model")
    missing = empty.build()
    assert missing.code == 2 and "has no model.onnx and no tokenizer.json" in missing.err
    model = empty.folder / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"none")
    shutil.copy(empty.folder / "golden.jsonl", model / "tokenizer.json")
    broken = empty.build()
    assert broken.code != 0 and "no embedding model in" in broken.err
