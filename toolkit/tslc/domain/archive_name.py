"""What a model, a version and an archive may be called.

Decides which names are safe everywhere they end up: in a file name, in a URL of TorchServe's
management API, in the name of a worker's socket. TorchServe itself refuses any URL with `..` in it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import assert_never

MAX_NAME = 64
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class ArchiveFormat(StrEnum):
    MAR = "mar"
    TGZ = "tgz"
    NO_ARCHIVE = "no-archive"

    @property
    def suffix(self) -> str:
        match self:
            case ArchiveFormat.MAR:
                return ".mar"
            case ArchiveFormat.TGZ:
                return ".tar.gz"
            case ArchiveFormat.NO_ARCHIVE:
                return ""
        assert_never(self)


def model_name_problem(name: str) -> str | None:
    """What is wrong with a model's name; None when nothing is."""
    return _name_problem(name, _MODEL, "letters, digits, '_', '.' and '-'")


def version_problem(version: str) -> str | None:
    """What is wrong with a version; None when nothing is."""
    return _name_problem(version, _VERSION, "letters, digits, '_', '.', '+' and '-'")


def _name_problem(name: str, pattern: re.Pattern[str], allowed: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"{len(name)} characters are too many for file and socket names (at most {MAX_NAME})"
    if not pattern.fullmatch(name):
        return f"{name!r} may hold only {allowed}, and begins with a letter or a digit"
    if ".." in name:
        return f"{name!r} holds '..', which TorchServe refuses in URLs"
    return None


def archive_name(model: str, version: str, archive_format: ArchiveFormat) -> str:
    """The file or folder name of a built archive, `quickstart-1.0.0.mar`."""
    return f"{model}-{version}{archive_format.suffix}"
