"""The sections of archive.yaml that are mappings: `rag:` (what it knows) and `guard:` (its guard).

How much is retrieved, and what the guard's policy is, stands in the model config (`handler.rag`,
`handler.guard`): a version can change that without another index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tslc.domain.marked_yaml import Node
from tslc.domain.vocabulary import unknown_word
from tslc.errors import Mistake

RAG_KEYS = ("knowledge", "chunk_characters", "overlap_characters", "embedding")
GUARD_KEYS = ("model",)
CHUNK_CHARACTERS, OVERLAP_CHARACTERS = 800, 120
DEFAULT_EMBEDDING = "all-MiniLM-L6-v2"

Report = Callable[[Mistake], None]


@dataclass(frozen=True)
class RagSpec:
    """`knowledge`: files and folders below the spec's folder. A chunk is at most
    `chunk_characters` long and repeats up to `overlap_characters` of the one before it.
    `embedding`: the packaged model's name, or a folder with model.onnx and tokenizer.json."""

    knowledge: tuple[str, ...]
    chunk_characters: int = CHUNK_CHARACTERS
    overlap_characters: int = OVERLAP_CHARACTERS
    embedding: str = DEFAULT_EMBEDDING


def read_rag(where: str, node: Node, report: Report) -> RagSpec | None:
    """None when it can't be used; every mistake is reported."""
    wrong: list[Mistake] = []
    section = _mapping(where, node, RAG_KEYS, "knowledge: [FOLDER]", wrong.append)
    knowledge = _paths(f"{where}, knowledge", section.get("knowledge"), wrong.append)
    sizes: dict[str, int] = {}
    for key, least, default in (
        ("chunk_characters", 100, CHUNK_CHARACTERS),
        ("overlap_characters", 0, OVERLAP_CHARACTERS),
    ):
        value = section[key].value if key in section else default
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            fix = f"write a number, {least} or more"
            wrong.append(Mistake(f"{where}, {key}", f"{value!r} is none", fix))
        else:
            sizes[key] = value
    if len(sizes) == 2 and sizes["overlap_characters"] * 2 > sizes["chunk_characters"]:
        problem = "it is over half of chunk_characters"
        wrong.append(Mistake(f"{where}, overlap_characters", problem, "write a smaller one"))
    embedding = section["embedding"].value if "embedding" in section else DEFAULT_EMBEDDING
    if not isinstance(embedding, str) or not embedding:
        fix = f"write {DEFAULT_EMBEDDING}, or a folder"
        wrong.append(Mistake(f"{where}, embedding", f"{embedding!r} is not a text", fix))
    for mistake in wrong:
        report(mistake)
    if wrong:
        return None
    return RagSpec(knowledge, **sizes, embedding=str(embedding))


def read_guard(where: str, node: Node, report: Report) -> str:
    """What `guard: {model: …}` says; empty when it says nothing that can be used."""
    section = _mapping(where, node, GUARD_KEYS, "model: FOLDER", report, _ELSEWHERE)
    model = section["model"].value if "model" in section else None
    if isinstance(model, str) and model:
        return model
    if "model" in section or not section:
        fix = "write `model: hf:org/name@revision`, or a folder"
        report(Mistake(f"{where}, model", f"{model!r} names no weights", fix))
    return ""


_ELSEWHERE = {
    key: f"write it in the model config, as handler.guard.{key}"
    for key in ("url", "mode", "threshold", "categories", "refusal", "on_error", "window_tokens")
}


def _mapping(
    where: str,
    node: Node,
    keys: tuple[str, ...],
    example: str,
    report: Report,
    elsewhere: Mapping[str, str] = {},
) -> Mapping[str, Node]:
    if not isinstance(node.value, dict) or not node.value:
        report(Mistake(where, "not a mapping of keys", f"write `{{{example}}}`"))
        return {}
    for key in node.fields:
        if key in elsewhere:
            report(Mistake(f"{where}, {key}", "it is no key of archive.yaml", elsewhere[key]))
        elif key not in keys:
            report(unknown_word(where, key, keys))
    return node.fields


def _paths(where: str, node: Node | None, report: Report) -> tuple[str, ...]:
    value = node.value if node is not None else None
    said = [value] if isinstance(value, str) else value
    if not isinstance(said, list) or not said or not all(isinstance(p, str) and p for p in said):
        fix = "write `knowledge: [FOLDER]`, files or folders with documents"
        report(Mistake(where, "it names no files or folders", fix))
        return ()
    return tuple(said)
