"""The knowledge base of an archive: every document read, cut into passages, and its index made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    for path, file in _files(spec, folder, knowledge, report).items():
        _read(path, file, knowledge, report)
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
        readable = {path: file for path, file in found.items() if kind_of(path)}
        for path in sorted(set(found) - set(readable)):
            if not path.rpartition("/")[2].startswith("."):
                ends = ", ".join(SUFFIXES)
                knowledge.warnings.append(f"{path}: left out; what is read ends in {ends}")
        if not readable:
            report(f"{said} holds no document", "put one in, or take the folder out")
        files |= readable
    return dict(sorted(files.items()))


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
