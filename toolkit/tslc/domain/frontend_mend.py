"""One class of TorchServe's frontend, mended: the table of the requests a worker is busy with.

`AsyncBatchAggregator` of TorchServe 0.12.0 keeps that table in a `java.util.LinkedHashMap`, which
the worker's thread fills and a network thread empties without a lock. An entry lost in the race
ends the worker ("Unexpected job in sendResponse()") with everything it was answering; one that
stays is a request kept for ever. The mended class is the same but for one name in its constant
pool (The Java Virtual Machine Specification, 4.4.7): `java.util.concurrent.ConcurrentHashMap`,
whose uses there are the same: a constructor without arguments, then `java.util.Map`.

The `torchserve` command puts its current folder before its own jar on Java's class path; a node's
folder is where the mended class goes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

CLASS = Path("org/pytorch/serve/wlm/AsyncBatchAggregator.class")
# SHA-256 of the class in torchserve 0.12.0.
KNOWN = "aed0a24091f876e16c3138c335df25fca0380fb704212bc3b53f004c78111cf4"


def _utf8_constant(text: bytes) -> bytes:
    return b"\x01" + len(text).to_bytes(2, "big") + text


_STOCK = _utf8_constant(b"java/util/LinkedHashMap")
_SAFE = _utf8_constant(b"java/util/concurrent/ConcurrentHashMap")


def mended(stock: bytes) -> bytes | None:
    """The class to use in place of `stock`; None when that is not the class of 0.12.0."""
    if hashlib.sha256(stock).hexdigest() != KNOWN:
        return None
    return stock.replace(_STOCK, _SAFE)
