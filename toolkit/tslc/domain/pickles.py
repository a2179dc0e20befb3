"""Which pickles of a foreign archive may go into the store, and how much to unpack to find them.

A pickle runs code when it is loaded, so none goes in unasked. What a scanner knows to be harmful,
and what it can't read, does not go in at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tslc.domain.manifest import MAX_FILES
from tslc.errors import Refused

# What torch, joblib and NumPy load with pickle, by the end of the name.
PICKLE_SUFFIXES = frozenset(
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
)
# What joblib and pandas pack a pickle with, by the end of the name.
PACKED_SUFFIXES = frozenset((".gz", ".z", ".bz2", ".xz", ".lzma", ".zst", ".lz4"))
# Weights hardly shrink, texts do: this many times the archive's size, and as much on top.
_MAX_GROWTH = 20
_MAX_GIFT = 1024**3
_MAX_STEPS = 20_000_000


class TooMuch(ValueError):
    """More is packed in an archive than anyone unpacks to look at it."""


@dataclass
class Room:
    """What may still come out of one archive, whatever is packed in what: one count for all of it.

    `bytes_left`, `files_left`: to unpack. `steps_left`: of pickles, that are read one by one. Each
    `take_…` raises TooMuch when there is not enough left, and from then on.
    """

    bytes_left: int
    files_left: int = MAX_FILES
    steps_left: int = _MAX_STEPS

    @classmethod
    def of_archive(cls, size: int) -> Room:
        return cls(_MAX_GIFT + _MAX_GROWTH * size)

    def take_bytes(self, count: int) -> None:
        self.bytes_left -= count
        self._expect_some()

    def take_files(self, count: int) -> None:
        self.files_left -= count
        self._expect_some()

    def take_step(self) -> None:
        self.steps_left -= 1
        self._expect_some()

    def _expect_some(self) -> None:
        if self.bytes_left < 0:
            raise TooMuch(f"the archive grows to over {_MAX_GROWTH} times its size")
        if self.files_left < 0:
            raise TooMuch(f"more than {MAX_FILES} files in the archive and what is packed in it")
        if self.steps_left < 0:
            raise TooMuch(f"the archive's pickles have more than {_MAX_STEPS} steps")


@dataclass(frozen=True)
class Scanned:
    """A file a scanner was shown. `pickled`: it holds a pickle, whatever it is called.

    `harmful`: what the pickle imports that it must not. `error`: why the scan says nothing.
    """

    path: str
    pickled: bool
    harmful: tuple[str, ...] = ()
    error: str | None = None


def is_called_pickle(path: str) -> bool:
    return PurePosixPath(unpacked_name(path).lower()).suffix in PICKLE_SUFFIXES


def unpacked_name(path: str) -> str:
    """What a packed file is called without its packing: `w.pkl` for `a/w.pkl.gz`."""
    name = PurePosixPath(path)
    return name.stem if name.suffix.lower() in PACKED_SUFFIXES else name.name


def allowed_pickles(archive: str, scanned: Sequence[Scanned], *, allow: bool) -> tuple[str, ...]:
    """The pickles of the archive, if they may go in; raises Refused.

    `allow`: someone said that pickles may. That is no word for a harmful one.
    """
    for one in scanned:
        if one.harmful:
            imports = ", ".join(one.harmful[:3])
            raise Refused(
                f"{archive}: the pickle {one.path} runs harmful code: {imports}",
                hint="don't load it anywhere; convert the weights to safetensors at their source",
            )
        if one.error is not None:
            raise Refused(
                f"{archive}: {one.path} can't be checked for pickles: {one.error}",
                hint="leave it out, or unpack it; rename it if it is only called a pickle",
            )
    pickles = tuple(sorted(one.path for one in scanned if one.pickled))
    if pickles and not allow:
        more = f" and {len(pickles) - 3} more" if len(pickles) > 3 else ""
        raise Refused(
            f"{archive} holds pickles, which run code when loaded: {', '.join(pickles[:3])}{more}",
            hint="use safetensors; or add --allow-pickle, and the manifest will say so",
        )
    return pickles
