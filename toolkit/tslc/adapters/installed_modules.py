"""The names that installed distributions can be imported by."""

from __future__ import annotations

from functools import cache
from importlib.metadata import packages_distributions


@cache
def installed_modules() -> frozenset[str]:
    """Read once: with some hundred distributions that takes a tenth of a second."""
    return frozenset(name for name in packages_distributions() if name.isidentifier())
