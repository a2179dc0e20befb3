"""The records of a pipeline's jobs in the store: one for each model of an environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from tslc.adapters.s3_errors import AlreadyThere, Missing
from tslc.adapters.s3_store import S3Store
from tslc.domain.pipeline.record import MAX_BYTES, JobRecord
from tslc.domain.store_layout import job_key, jobs_prefix


@dataclass(frozen=True)
class Noted:
    """A record, its tag, and for how many seconds it has not changed, by the store's clock."""

    record: JobRecord
    tag: str
    age: float


class JobRecords:
    """Of one environment. Usable from many threads."""

    def __init__(self, store: S3Store, environment: str) -> None:
        self._store = store
        self._environment = environment

    def models(self) -> Iterator[str]:
        """Those of which there is a record."""
        prefix = jobs_prefix(self._environment)
        for found in self._store.list(prefix):
            yield found.key.removeprefix(prefix).removesuffix(".json")

    def read(self, model: str) -> Noted | None:
        """Raises BadFile for a record that is none of tslc's."""
        key = job_key(self._environment, model)
        found = self._store.read(key, MAX_BYTES)
        if found is None:
            return None
        record = JobRecord.parse(found.content, f"{self._store.address}/{key}")
        return Noted(record, found.tag, found.age)

    def write(self, model: str, record: JobRecord, before: Noted | None) -> bool:
        """Whether it was written: only in the place of `before`, or where none was. A write of our
        own whose answer was lost counts."""
        content = record.render()
        key = job_key(self._environment, model)
        digest = sha256(content).digest()
        tag = before.tag if before else None
        try:
            self._store.put(key, content, digest, if_absent=tag is None, if_tag=tag)
        except (AlreadyThere, Missing):
            found = self._store.read(key, MAX_BYTES)
            return found is not None and found.content == content
        return True
