"""Reading documents from real files: what is a mistake, what is a warning, what the text is."""

from __future__ import annotations

import io
from pathlib import Path

import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslc.adapters.documents import UnreadableDocument, read_document
from tslc.adapters.web_page import page_text

GUIDE = Path(__file__).parents[3] / "archives/support-bot/knowledge/mounting-guide.pdf"


@pytest.fixture
def read(tmp_path):
    def reading(name: str, content: bytes | str):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        warnings: list[str] = []
        return read_document(f"kb/{name}", file, warnings.append), warnings

    return reading


def encrypted(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=GUIDE)
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_is_its_text(read) -> None:
    document, warnings = read("mounting-guide.pdf", GUIDE.read_bytes())
    assert document.title == "mounting guide"
    assert "2 newton metres" in document.text and warnings == []


@pytest.mark.parametrize(
    "content", [b"", b"%PDF-1.4", b"no pdf", GUIDE.read_bytes()[:400], b"%PDF-1.7\n" + b"<<" * 9999]
)
def test_a_broken_pdf_is_a_mistake(read, content) -> None:
    with pytest.raises(UnreadableDocument, match="not a PDF that can be read"):
        read("a.pdf", content)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1534), st.binary(min_size=1, max_size=3)), max_size=8))
def test_a_pdf_with_bytes_changed_is_read_or_a_mistake_never_a_traceback(read, changes) -> None:
    content = bytearray(GUIDE.read_bytes())
    for place, said in changes:
        content[place : place + len(said)] = said
    try:
        assert read("a.pdf", bytes(content))[0].path == "kb/a.pdf"
    except UnreadableDocument as error:
        assert error.fix


def test_a_pdf_with_a_password_is_a_mistake_and_one_without_is_read(read) -> None:
    with pytest.raises(UnreadableDocument, match="a PDF with a password"):
        read("a.pdf", encrypted("secret"))
    assert "newton" in read("a.pdf", encrypted(""))[0].text


def test_a_pdf_without_text_is_a_warning(read) -> None:
    writer, out = pypdf.PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(out)
    document, warnings = read("scan.pdf", out.getvalue())
    assert not document.text.strip() and warnings == ["there is no text in it (a scan?)"]


def test_fifty_megabytes_are_a_mistake_that_is_told_without_reading_them(tmp_path) -> None:
    file = tmp_path / "a.txt"
    with file.open("wb") as out:
        out.truncate(50_000_000)
    with pytest.raises(UnreadableDocument, match="50 MB; a document has at most 16 MiB"):
        read_document("a.txt", file, print)


def test_five_megabytes_of_one_line_are_read_with_a_warning(read) -> None:
    document, warnings = read("a.txt", "word " * 10**6)
    assert len(document.text) == 5 * 10**6
    assert warnings == ["a line of 5 million characters: is it a document?"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_without_a_warning(read, encoding) -> None:
    document, warnings = read("a.md", "# Größe\n\n漢字".encode(encoding))
    assert (document.title, warnings) == ("Größe", [])


def test_utf_16_that_breaks_off_is_a_warning(read) -> None:
    document, warnings = read("a.txt", "lamp".encode("utf-16")[:-1])
    assert document.text.startswith("lam")
    assert warnings == ["broken UTF-16: some of its characters are lost"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis"])
def test_another_encoding_is_guessed_and_said(read, encoding) -> None:
    text = {
        "shift_jis": "この製品の保証期間は三年です。電池は二年間です。修理は十日かかります。",
    }.get(encoding, "Die Größe der Lampe für übliche Tische, über alles geprüft: schön.")
    document, warnings = read("a.txt", text.encode(encoding))
    assert document.text == text
    assert len(warnings) == 1 and warnings[0].startswith("not UTF-8; read as ")


@pytest.mark.parametrize("content", [b"\0\1\2", b"PK\3\4" + bytes(100), b"text" + b"\0" * 5])
def test_a_text_that_is_binary_is_a_mistake(read, content) -> None:
    with pytest.raises(UnreadableDocument, match="binary data"):
        read("a.txt", content)


def test_line_ends_and_runs_of_empty_lines_become_one_kind(read) -> None:
    assert read("a.txt", "a\r\nb\rc\n\n \n\n  d")[0].text == "a\nb\nc\n\n  d"


def test_a_web_page_is_named_by_its_title(read) -> None:
    document, _ = read("a.html", "<title> Our\n lamps </title><h1>Other</h1><p>text")
    assert (document.title, document.text) == ("Our lamps", "# Other\n\ntext")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("just text", "just text"),
        ("<div>a<div>b</div>c</div>", "a\n\nb\n\nc"),
        ("<ul><li>a<ul><li>b</ul>c<li><p>d</p></ul>", "a\n\nb\n\nc\n\nd"),
        ("<p>a <b>bo</b>ld<br>x &amp; y &lt;z&gt;", "a bold x & y <z>"),
        ("<table><tr><th>A <th>B</tr> <tr><td>1</td> <td>2</td></tr></table>", "A | B\n\n1 | 2"),
        ("<h2>a <i>b</i></h2><blockquote>c<p>d</p></blockquote>", "## a b\n\nc\n\nd"),
        ("<script>no</script><style>no</style><nav>no</nav><noscript>no</noscript>yes", "yes"),
        ("<pre>\n a\n   b</pre>", " a\n   b"),
        ("<p> </p>\n<p>a</p>", "a"),
        ("", ""),
        ("<frameset></frameset>", ""),
    ],
)
def test_every_text_of_a_page_is_read_once_block_by_block(source, text) -> None:
    assert page_text(source)[1] == text


TAGS = st.sampled_from(["div", "p", "li", "ul", "td", "tr", "table", "b", "a", "h1", "blockquote"])


@given(st.lists(st.one_of(TAGS.map(lambda t: f"<{t}>"), TAGS.map(lambda t: f"</{t}>"))))
def test_no_text_is_lost_or_doubled_whatever_the_elements(tags) -> None:
    source = "".join(f"{tag}w{number}." for number, tag in enumerate(tags))
    said = page_text(source)[1]
    assert all(said.count(f"w{number}.") == 1 for number in range(len(tags)))
