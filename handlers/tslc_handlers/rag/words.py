"""The words of a text, for BM25: the same when the index is made and when it is searched."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")
# What nearly every text has says nothing of what it is about.
_COMMON = (
    "a an and are as at be but by do does for from had has have how i if in into is it its me my "
    "no not of on or our so such that the their them then there these they this to was we were "
    "what when where which who will with would you your can could should am been"
)
_STOPWORDS = frozenset(_COMMON.split())


def words(text: str) -> list[str]:
    """Letters and digits in lower case, widths and accents composed, English stop words left out.

    A text of stop words alone keeps them.
    """
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [word for word in found if word not in _STOPWORDS] or found
