"""A web page as plain text with Markdown's headings: what a reader sees, in order.

Every text of the page is in it once, whatever its elements are; scripts, styles and navigation are
left out. A table's row is a line.
"""

from __future__ import annotations

import re
from typing import Any

_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_CELLS = ("td", "th")
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog"}
    | {"div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr"}
    | {"li", "main", "ol", "option", "p", "pre", "section", "summary", "table", "tr", "ul"}
    | set(_HEADINGS)
)
_LEFT_OUT = "script, style, noscript, template, nav, svg"
_BLANKS = re.compile(r"\s+")


class _Text:
    """Blocks of text as they are found."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._open: tuple[Any, str] = (None, "")
        self._cell: Any = None
        self._parts: list[str] = []

    def add(self, text: str, block: tuple[Any, str], cell: Any) -> None:
        if block[1] == "tr" and cell is None and not text.strip():
            return  # between two cells
        if block != self._open:
            self.close()
            self._open, self._cell = block, cell
        elif cell != self._cell:
            self._parts.append(" | ")
            self._cell = cell
        self._parts.append(text)

    def close(self) -> None:
        tag = self._open[1]
        text = "".join(self._parts)
        text = text.strip("\n") if tag == "pre" else _BLANKS.sub(" ", text).strip()
        if text.strip(" |"):
            self.blocks.append(f"{_HEADINGS[tag]} {text}" if tag in _HEADINGS else text)
        self._open, self._parts = (None, ""), []


def page_text(source: str) -> tuple[str, str]:
    """The page's title, empty for none, and its text. Raises ImportError without selectolax."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source)
    named = tree.css_first("title")
    title = named.text() if named else ""
    for gone in tree.css(_LEFT_OUT):
        gone.decompose()
    if tree.body is None:
        return title, ""
    text = _Text()
    for node in tree.body.traverse(include_text=True):
        if node.tag == "br":
            text.add("\n", *_around(node))
        elif node.tag == "-text" and (said := node.text(deep=False)):
            text.add(said, *_around(node))
    text.close()
    return title, "\n\n".join(text.blocks)


def _around(node: Any) -> tuple[tuple[Any, str], Any]:
    """The block that a text stands in, and the table's cell, when it stands in one."""
    cell, above = None, node.parent
    while above is not None and above.tag not in _BLOCKS:
        if above.tag in _CELLS and cell is None:
            cell = above.mem_id
        above = above.parent
    return (above.mem_id, above.tag) if above is not None else (None, ""), cell
