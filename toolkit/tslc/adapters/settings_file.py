"""tslc.yaml on disk: the one in the current folder or the nearest folder above it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from tslc.adapters.source_files import read_text
from tslc.domain.settings_file import FILE_NAME
from tslc.errors import Refused


def find_settings(folder: Path) -> tuple[Path, str] | None:
    """The file that counts in `folder` and its text; None when there is none up to the root.

    Raises Unreadable (BadInput) when there is one that can't be read: what it says is not known.
    Raises Refused for one that another user owns: whom to trust is not theirs to say.
    """
    for above in (folder, *folder.parents):
        path = above / FILE_NAME
        if path.exists() or path.is_symlink():
            _expect_own(path)
            return path, read_text(path)
    return None


def _expect_own(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # a link to nowhere is found unreadable
        about = path.stat()
        if about.st_uid not in (0, os.geteuid()):
            raise Refused(
                f"{path} belongs to another user (uid {about.st_uid}), and would say whom to trust",
                hint=f"--config {path}   # if you trust them",
            )
        if about.st_mode & stat.S_IWOTH:
            raise Refused(f"{path} may be written by anybody", hint=f"chmod o-w {path}")


def read_settings(path: Path) -> tuple[Path, str]:
    """A file named by hand; raises Unreadable (BadInput)."""
    return path, read_text(path)
