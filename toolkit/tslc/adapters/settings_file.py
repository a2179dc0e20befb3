"""tslc.yaml on disk: the one in the current folder or the nearest folder above it."""

from __future__ import annotations

from pathlib import Path

from tslc.adapters.source_files import read_text
from tslc.domain.settings_file import FILE_NAME


def find_settings(folder: Path) -> tuple[Path, str] | None:
    """The file that counts in `folder` and its text; None when there is none up to the root.

    Raises Unreadable (BadInput) when there is one that can't be read: what it says is not known.
    """
    for above in (folder, *folder.parents):
        path = above / FILE_NAME
        if path.exists() or path.is_symlink():
            return path, read_text(path)
    return None


def read_settings(path: Path) -> tuple[Path, str]:
    """A file named by hand; raises Unreadable (BadInput)."""
    return path, read_text(path)
