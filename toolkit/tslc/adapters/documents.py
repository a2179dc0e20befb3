"""Reading a knowledge base: files to texts, each with what is wrong with it.

Markdown stays as it is; HTML and PDF become Markdown's plain text with headings. A document that
can't be read is a mistake of that file, never a document left out in silence.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

from tslc.adapters.source_files import readable
from tslc.domain.knowledge.document import MAX_BYTES, Document, kind_of, title_of
from tslc.errors import TslcError

_EXTRA = "pip install 'tslc[rag]'"
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCKS = "h1, h2, h3, h4, h5, h6, p, li, pre, blockquote, td, th, dt, dd, figcaption"
_BLANKS = re.compile(r"\s+")

Warn = Callable[[str], None]


class UnreadableDocument(Exception):
    """Why a file is no document; `fix` says how to mend it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


def read_document(path: str, file: Path, warn: Warn) -> Document:
    """Raises UnreadableDocument. `warn` is told what was read but looks wrong."""
    with readable(file):
        size = file.stat().st_size
        if size > MAX_BYTES:
            problem = f"{size / 1e6:.0f} MB; a document has at most {MAX_BYTES // 2**20} MiB"
            raise UnreadableDocument(problem, "split it, or take it out")
        content = file.read_bytes()
    kind = kind_of(path)
    text = _pdf(content) if kind == "PDF" else _text(content, warn)
    title = None
    if kind == "HTML":
        title, text = _html(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if not text.strip():
        warn("there is no text in it" + (" (a scan?)" if kind == "PDF" else ""))
    longest = max((len(line) for line in text.splitlines()), default=0)
    if longest > 1_000_000:
        warn(f"a line of {longest / 1e6:.0f} million characters: is it a document?")
    digest = hashlib.sha256(content).hexdigest()
    return Document(path, digest, title or title_of(path, text), text)


def _text(content: bytes, warn: Warn) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:8192]:
        raise UnreadableDocument("it holds binary data, not text", "take it out")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = _guessed(content)
        if found is None:
            problem = f"not UTF-8 (byte {error.start}), and no other encoding fits"
            raise UnreadableDocument(problem, "save it as UTF-8") from None
        encoding, text = found
        warn(f"not UTF-8; read as {encoding}")
        return text


def _guessed(content: bytes) -> tuple[str, str] | None:
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise missing(error) from error
    best = from_bytes(content).best()
    return (best.encoding, str(best)) if best is not None else None


def _html(source: str) -> tuple[str | None, str]:
    """The page's title and its text, block by block."""
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise missing(error) from error
    tree = LexborHTMLParser(source)
    named = tree.css_first("title")
    title = _BLANKS.sub(" ", named.text()).strip() if named else ""
    for gone in tree.css("script, style, noscript, template, nav, svg"):
        gone.decompose()
    blocks = []
    for node in tree.css(_BLOCKS):
        if any(child.tag != node.tag for child in node.css("p, li, td, pre")):
            continue  # its blocks come by themselves
        text = node.text(separator=" ")
        text = text.strip() if node.tag == "pre" else _BLANKS.sub(" ", text).strip()
        if text:
            blocks.append(f"{_HEADINGS[node.tag]} {text}" if node.tag in _HEADINGS else text)
    if not blocks and tree.body is not None:
        blocks = [_BLANKS.sub(" ", tree.body.text(separator=" ")).strip()]
    return title or None, "\n\n".join(block for block in blocks if block)


def _pdf(content: bytes) -> str:
    try:
        import pypdf
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise missing(error) from error
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        if reader.is_encrypted:
            raise UnreadableDocument("a PDF with a password", "save it without one")
        return "\n\n".join(page.extract_text() for page in reader.pages)
    except UnreadableDocument:
        raise
    # What a broken file makes of a parser is not only its own errors.
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"not a PDF that can be read: {error or type(error).__name__}"
        raise UnreadableDocument(problem, "save it anew, or take it out") from error
    except (RecursionError, OverflowError, NotImplementedError, AssertionError) as error:
        problem = f"not a PDF that can be read: {type(error).__name__}"
        raise UnreadableDocument(problem, "save it anew, or take it out") from error


def missing(error: ImportError) -> TslcError:
    """A package of the extra `rag` that is not installed."""
    return TslcError(f"a knowledge base needs the package {error.name}", hint=_EXTRA)
