"""The releases of an environment in the store: whoever writes first goes on with one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from hashlib import sha256

from tslc.adapters.environment_objects import LostRace
from tslc.adapters.s3_errors import AlreadyThere, Missing
from tslc.adapters.s3_store import S3Store
from tslc.domain.releasing.document import MAX_BYTES, Release
from tslc.domain.store_layout import release_key


@dataclass(frozen=True)
class TaggedRelease:
    release: Release
    tag: str


class ReleaseObjects:
    """Of one environment."""

    def __init__(self, store: S3Store, environment: str) -> None:
        self._store = store
        self._environment = environment

    def read(self, model: str) -> TaggedRelease | None:
        """The model's last release. Raises BadFile, Refused."""
        key = release_key(self._environment, model)
        found = self._store.read(key, MAX_BYTES)
        if found is None:
            return None
        release = Release.parse(found.content, f"{self._store.address}/{key}")
        return TaggedRelease(release, found.tag)

    def write(self, release: Release, before: str | None) -> TaggedRelease:
        """Where the tag `before` still holds (None: where there is none). Raises LostRace.

        When the answer to our own write was lost, what lies there is ours, and that is success.
        """
        content = release.render()
        key = release_key(self._environment, release.model)
        # Who was first is seen by what lies there.
        with contextlib.suppress(AlreadyThere, Missing):
            self._store.put(
                key, content, sha256(content).digest(), if_absent=before is None, if_tag=before
            )
        found = self._store.read(key, MAX_BYTES)
        if found is None or found.content != content:
            raise LostRace(f"{self._store.address}/{key} was changed meanwhile")
        return TaggedRelease(release, found.tag)
