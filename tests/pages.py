"""The project's Markdown as its readers see it: blocks of code, code within sentences, links,
headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_OURS = ("README.md", "docs/**/*.md", "deploy/**/*.md", "docker/**/*.md")
PAGES = tuple(sorted(page for pattern in _OURS for page in ROOT.glob(pattern)))
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """`language` is empty where none is said; `line`: of its first line of code."""

    line: int
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    for token in _MARKDOWN.parse(text):
        if token.type in ("fence", "code_block") and token.map:
            fenced = token.type == "fence"
            yield Block(token.map[0] + 1 + fenced, token.info.strip(), token.content)


def code_in_sentences(text: str) -> Iterator[str]:
    return (one.content for one in _inline(text) if one.type == "code_inline")


def links(text: str) -> Iterator[str]:
    for one in _inline(text):
        if one.type in ("link_open", "image"):
            yield str(one.attrs.get("href") or one.attrs.get("src"))


def anchors(text: str) -> set[str]:
    """As GitHub names a page's headings."""
    found: Counter[str] = Counter()
    names = set()
    tokens = _MARKDOWN.parse(text)
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            words = "".join(one.content for one in tokens[at + 1].children or ())
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            names.add(f"{name}-{found[name]}" if found[name] else name)
            found[name] += 1
    return names


def _inline(text: str) -> Iterator[Token]:
    for token in _MARKDOWN.parse(text):
        yield from token.children or ()
