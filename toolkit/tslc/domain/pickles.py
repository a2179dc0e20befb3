"""Which pickles of a foreign archive may go into the store.

A pickle runs code when it is loaded, so none goes in unasked. What a scanner knows to be harmful,
and what it can't read, does not go in at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tslc.errors import Refused

# What torch, joblib and NumPy load with pickle, by the end of the name.
PICKLE_SUFFIXES = frozenset(
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
)


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
    return PurePosixPath(path).suffix.lower() in PICKLE_SUFFIXES


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
                hint="leave it out, or rename it if it holds no pickle",
            )
    pickles = tuple(sorted(one.path for one in scanned if one.pickled))
    if pickles and not allow:
        more = f" and {len(pickles) - 3} more" if len(pickles) > 3 else ""
        raise Refused(
            f"{archive} holds pickles, which run code when loaded: {', '.join(pickles[:3])}{more}",
            hint="use safetensors; or add --allow-pickle, and the manifest will say so",
        )
    return pickles
