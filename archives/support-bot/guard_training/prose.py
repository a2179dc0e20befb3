"""Plain technical prose that lies on every machine of this project: manuals, none of it harmful.

Paragraphs of Python's language reference, of docstrings of its standard library, and of the
descriptions of the packages in requirements-cpu.lock.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_LOCK = Path(__file__).parents[3] / "requirements-cpu.lock"
# Their descriptions are about attacks on language models.
_LEFT_OUT = ("garak", "pyrit")
_SHORTEST, _LONGEST = 60, 800
_LETTERS = 0.7


def paragraphs(text: str) -> Iterator[str]:
    """Those that read like sentences; long ones are cut."""
    for part in re.split(r"\n\s*\n", text):
        flat = " ".join(part.split())
        letters = sum(char.isalpha() or char.isspace() for char in flat)
        if len(flat) >= _SHORTEST and letters >= _LETTERS * len(flat) and ". " in flat + " ":
            yield flat[:_LONGEST]


def language_reference() -> list[str]:
    from pydoc_data.topics import topics

    return [one for _, text in sorted(topics.items()) for one in paragraphs(text)]


def standard_library() -> list[str]:
    """The docstrings of its modules and of what they define at their top."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in (tree, *tree.body):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found += paragraphs(ast.get_docstring(node) or "")
    return list(dict.fromkeys(found))


def locked() -> list[str]:
    lines = _LOCK.read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[A-Za-z0-9._-]+(?===)", line) for line in lines)
    return sorted({name[0].lower() for name in names if name} - {*_LEFT_OUT})


def descriptions(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        try:
            text = importlib.metadata.metadata(name).get_payload()
        except importlib.metadata.PackageNotFoundError:
            continue
        found += list(paragraphs(str(text)))[:40]
    return list(dict.fromkeys(found))
