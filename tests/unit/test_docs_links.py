"""Links of the documentation: those within the repository lead somewhere, the others could."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pages import PAGES, anchors, links, name_of


def dead(page: Path, link: str) -> bool:
    """Whether a relative link leads to no file, or to no heading in it."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.is_file():
        return True
    return bool(anchor) and anchor not in anchors(target.read_text())


def odd(link: str) -> bool:
    """Whether an address can't be right, as far as that is seen without asking."""
    parts = urlsplit(link)
    host = parts.hostname or ""
    known = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) is not None
    return parts.scheme != "https" or not known or " " in link or parts.username is not None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_or_to_an_address(page: Path) -> None:
    found = set(links(page.read_text()))
    far = {link for link in found if re.match(r"[a-z]+:", link)}
    assert {link for link in far if odd(link)} == set()
    assert {link for link in found - far if dead(page, link)} == set()


def test_dead_links_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# A: `b`\n\n# A b\n[x](b.md) [y](#a-b) [z](#a-b-1) [w](#a)\n")
    assert [dead(page, link) for link in links(page.read_text())] == [True, False, False, True]


@pytest.mark.parametrize(
    "link", ["http://a.org", "https://nowhere", "https://u@a.org", "ftp://a.org"]
)
def test_odd_addresses_would_be_found(link: str) -> None:
    assert odd(link)
    assert not odd("https://a.org/b?c#d")
