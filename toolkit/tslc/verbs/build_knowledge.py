"""The knowledge base of an archive: every document read, cut into passages, and its index made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tslc.adapters import source_files
from tslc.adapters.documents import UnreadableDocument, read_document
from tslc.adapters.embedding_model import embedding_files
from tslc.adapters.hashing import hash_files
from tslc.adapters.rag_process import make_index
from tslc.adapters.source_files import Unreadable
from tslc.adapters.splitter import split
from tslc.domain.archive_sections import RagSpec
from tslc.domain.knowledge.document import (
    MAX_PASSAGES,
    SUFFIXES,
    Document,
    Passage,
    kind_of,
    passages_of,
)
from tslc.errors import BadInput

INDEX = "index"
"""The folder of an archive with its index; the handlers look for it there."""


@dataclass
class Knowledge:
    """What a knowledge base holds. `documents`: each with its count of passages."""

    spec: RagSpec
    embedding: Mapping[str, Path] = field(default_factory=dict)
    documents: dict[Document, int] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


Report = Callable[[str, str], None]


def read_knowledge(spec: RagSpec, folder: Path, report: Report) -> Knowledge:
    """Read every document of a spec in `folder`; `report` is told each problem and its fix."""
    knowledge = Knowledge(spec)
    try:
        knowledge.embedding = embedding_files(spec.embedding, folder)
    except BadInput as error:
        report(error.message, error.hint or "")
    files = _files(spec, folder, knowledge, report)
    told: list[str] = []

    def count(problem: str, fix: str) -> None:
        told.append(problem)
        report(problem, fix)

    for path, file in files.items():
        _read(path, file, knowledge, count)
    _warn_of_doubles(knowledge)
    if files and not told and not knowledge.passages:
        report("no document holds any text", "put one in that does")
    if len(knowledge.passages) > MAX_PASSAGES:
        report(
            f"{len(knowledge.passages)} passages; an archive holds at most {MAX_PASSAGES}",
            "take out documents, or use a served database (handler.rag.retriever)",
        )
    return knowledge


def _files(spec: RagSpec, folder: Path, knowledge: Knowledge, report: Report) -> Mapping[str, Path]:
    files: dict[str, Path] = {}
    for said in spec.knowledge:
        try:
            found = source_files.files_of(source_files.absolute(folder / said), folder)
        except Unreadable as error:
            report(error.message, error.hint or "")
            continue
        readable = {path: file for path, file in found.items() if _is_document(path)}
        knowledge.warnings += _left_out(sorted(set(found) - set(readable)))
        if not readable:
            report(f"{said} holds no document", "put one in, or take the folder out")
        for path, file in readable.items():
            if path in files and not files[path].samefile(file):
                report(f"{path}: two documents would have this name", "rename one of the folders")
        files |= readable
    return dict(sorted(files.items()))


def _is_document(path: str) -> bool:
    return kind_of(path) is not None and not _is_hidden(path)


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


def _left_out(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if not _is_hidden(path):
            yield f"{path}: left out; what is read ends in {', '.join(SUFFIXES)}"
        elif kind_of(path):
            yield f"{path}: left out, as hidden files are"


def _warn_of_doubles(knowledge: Knowledge) -> None:
    """The same text twice takes two places among the results and says no more."""
    first: dict[str, str] = {}
    for document in knowledge.documents:
        if (other := first.setdefault(document.sha256, document.path)) != document.path:
            knowledge.warnings.append(f"{document.path}: the same file as {other}")


def _read(path: str, file: Path, knowledge: Knowledge, report: Report) -> None:
    def warn(text: str) -> None:
        knowledge.warnings.append(f"{path}: {text}")

    try:
        document = read_document(path, file, warn)
    except UnreadableDocument as error:
        report(f"{path}: {error.problem}", error.fix)
        return
    except Unreadable as error:
        report(error.message, error.hint or "")
        return
    spec = knowledge.spec
    pieces = split(document.text, spec.chunk_characters, spec.overlap_characters)
    passages = passages_of(document, pieces)
    knowledge.documents[document] = len(passages)
    knowledge.passages += passages


def index_files(
    knowledge: Knowledge, scratch: Path, progress: Callable[[int, int], None]
) -> dict[str, Path]:
    """The files of the index by their path in the archive, made in the scratch folder."""
    spec = knowledge.spec
    model = hash_files(dict(knowledge.embedding))
    about = {
        "chunk_characters": spec.chunk_characters,
        "overlap_characters": spec.overlap_characters,
        "embedding": {name: entry.sha256 for name, entry in sorted(model.items())},
    }
    made = make_index(
        knowledge.passages, knowledge.documents, knowledge.embedding, about, scratch, progress
    )
    return {f"{INDEX}/{path}": file for path, file in made.items()}
