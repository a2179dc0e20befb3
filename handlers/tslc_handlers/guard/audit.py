"""A line for each request that was blocked: what counted against it, and a digest of the text.

The text itself is written only where the policy asks for it (`audit_text`). The lines go to the
logger `tslc_handlers.audit`, at level WARNING, one JSON object each.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable

from tslc_handlers.guard.policy import Violation

logger = logging.getLogger("tslc_handlers.audit")


def audit(
    stage: str,
    decision: str,
    violations: Iterable[Violation],
    text: str,
    request_id: str,
    with_text: bool,
) -> None:
    entry: dict[str, object] = {
        "event": "guard",
        "stage": str(stage),
        "decision": decision,
        "categories": {one.code: round(one.score, 4) for one in violations},
        "request_id": request_id,
        "sha256": hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
    }
    if with_text:
        entry["text"] = text
    logger.warning("%s", json.dumps(entry, sort_keys=True))
