"""How a tslc archive lies on disk, byte by byte: the same content is always the same bytes.

Entries are sorted, stored (never deflated, so that no zlib's version matters), with one time and
one mode. The reader (archive_file) takes exactly this layout and nothing else, so that TorchServe's
own unpackers can't see other files in an archive than tslc verified.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import IO

from tslc.adapters.stored_gzip import StoredGzip
from tslc.errors import BadInput, TslcError

MAX_ARCHIVE = (1 << 31) - 1
"""Bytes: beyond this a zip needs extensions that not every unpacker reads."""

TIME = 315532800  # 1980-01-01, the first that a zip can say
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o644
FOLDER_MODE = 0o755
TAR_BLOCK = 512
TAR_END = bytes(2 * TAR_BLOCK)
_CHUNK = 1024 * 1024


def zip_entry(path: str) -> zipfile.ZipInfo:
    """The header of a file in a .mar, without its size and checksum."""
    entry = zipfile.ZipInfo(path, _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = 3
    entry.flag_bits = 0 if path.isascii() else 0x800  # the path is UTF-8
    entry.external_attr = (0o100000 | FILE_MODE) << 16
    return entry


def tar_header(path: str, size: int) -> bytes:
    """The 512 bytes before a file in a .tar.gz; raises BadInput for a path tar can't hold."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime, entry.mode = size, TIME, FILE_MODE
    try:
        return entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError:
        hint = "shorten the path, or build with --format mar"
        raise BadInput(f"{path} is too long for a .tar.gz", hint=hint) from None


def write_zip(files: dict[str, Path], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for path in sorted(files):
            entry = zip_entry(path)
            entry.file_size = files[path].stat().st_size
            with files[path].open("rb") as source, archive.open(entry, "w") as sink:
                _copy(source, sink)


def write_tgz(files: dict[str, Path], target: Path, root: str) -> None:
    """TorchServe drops the first folder of every path, so there must be one: `root`."""
    with target.open("wb") as file:
        sink = StoredGzip(file)
        for path in sorted(files):
            size = files[path].stat().st_size
            sink.write(tar_header(f"{root}/{path}", size))
            with files[path].open("rb") as source:
                _copy(source, sink)
            sink.write(bytes(-size % TAR_BLOCK))
        sink.write(TAR_END)
        sink.finish()


def check_size(files: dict[str, Path]) -> None:
    """Raises TslcError for more than MAX_ARCHIVE bytes."""
    total = sum(path.stat().st_size for path in files.values())
    # Headers are less than 512 bytes and twice the path's a file.
    total += sum(TAR_BLOCK + 2 * len(path.encode()) + 128 for path in files)
    if total > MAX_ARCHIVE:
        raise TslcError(
            f"the archive would hold {total / 2**30:.1f} GiB, more than the 2 GiB it can",
            hint="weights belong beside it (`weights:`), not in extra_files",
        )


def _copy(source: IO[bytes], sink: IO[bytes] | StoredGzip) -> None:
    while chunk := source.read(_CHUNK):
        sink.write(chunk)
