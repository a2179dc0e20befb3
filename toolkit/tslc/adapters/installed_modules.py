"""The names that installed distributions can be imported by."""

from __future__ import annotations

from importlib.metadata import packages_distributions


def installed_modules() -> frozenset[str]:
    return frozenset(name for name in packages_distributions() if name.isidentifier())
