"""Reading a knowledge base: files to texts, each with what is wrong with it.

Markdown stays as it is; HTML and PDF become Markdown's plain text with headings. A document that
can't be read is a mistake of that file, never a document left out in silence.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from tslc.adapters.source_files import readable
from tslc.adapters.web_page import page_text
from tslc.domain.knowledge.document import MAX_BYTES, Document, kind_of, short, title_of
from tslc.errors import TslcError

_EXTRA = "pip install 'tslc[rag]'"
_EMPTY_LINES = re.compile(r"\n\s*\n")
# The longer mark first: the shorter one begins it.
_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# What a broken file makes of a parser is not only the parser's own errors.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError)
_BROKEN_TOO = (RecursionError, NotImplementedError, AssertionError, struct.error, zlib.error)

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
        title, text = _page(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    text = _EMPTY_LINES.sub("\n\n", text)  # thousands of them make the splitter very slow
    if not text.strip():
        warn("there is no text in it" + (" (a scan?)" if kind == "PDF" else ""))
    longest = max((len(line) for line in text.splitlines()), default=0)
    if longest > 1_000_000:
        warn(f"a line of {longest / 1e6:.0f} million characters: is it a document?")
    digest = hashlib.sha256(content).hexdigest()
    return Document(path, digest, short(title or "") or title_of(path, text), text)


def _text(content: bytes, warn: Warn) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content.decode(encoding, errors="replace")
            if "\ufffd" in text:
                warn(f"broken {encoding.upper()}: some of its characters are lost")
            return text
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


def _page(source: str) -> tuple[str, str]:
    try:
        return page_text(source)
    except ImportError as error:
        raise missing(error) from error


def _pdf(content: bytes) -> str:
    try:
        import pypdf
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError as error:
        raise missing(error) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it would tell of no file
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        # Many have rights but no password to read them with.
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("a PDF with a password", "save it without one")
        return "\n\n".join(page.extract_text() for page in reader.pages)
    except (PyPdfError, DependencyError, *_BROKEN, *_BROKEN_TOO) as error:
        said = " ".join(str(error).split())[:100] or type(error).__name__
        problem = f"not a PDF that can be read: {said}"
        raise UnreadableDocument(problem, "save it anew, or take it out") from error


def missing(error: ImportError) -> TslcError:
    """A package of the extra `rag` that is not installed."""
    return TslcError(f"a knowledge base needs the package {error.name}", hint=_EXTRA)
