"""How a split tells users apart: `header:x-user-id` or `cookie:session`."""

from __future__ import annotations

import re

from tslc.domain.router.table import Sticky, StickyBy

# RFC 9110's token, which headers and cookies are named by.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# These say who asks or where to, or are the router's own; none tells users apart for ever.
_RESERVED = ("authorization", "host", "cookie", "content-length", "connection")


def parse_sticky(text: str) -> Sticky | None:
    """None for what is neither `header:NAME` nor `cookie:NAME`, or names a header that can't be.

    Law: `parse_sticky(str(sticky)) == sticky`. Headers are compared in lower case.
    """
    by, _, name = text.partition(":")
    if by not in tuple(StickyBy) or not _TOKEN.fullmatch(name):
        return None
    if by == StickyBy.HEADER:
        name = name.lower()
        if name in _RESERVED or name.startswith(("x-tslc-", "x-envoy-", ":")):
            return None
    return Sticky(StickyBy(by), name)
