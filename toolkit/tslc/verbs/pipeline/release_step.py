"""Where the worker meets `tslc release`."""

from __future__ import annotations

from tslc.adapters.s3_store import S3Store
from tslc.domain.pipeline.step import ReleaseStep, ReleaseWish
from tslc.domain.settings import Settings


def release_step(wish: ReleaseWish, settings: Settings, store: S3Store) -> ReleaseStep:
    """The release that is wished, whether it has begun or not. Asks nothing of the store yet."""
    raise NotImplementedError("tslc.verbs.release is to be joined here")
