"""What a role needs of the store, each thing really done, with scratch objects of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tslc.adapters.s3_errors import AlreadyThere, Missing, translated
from tslc.adapters.s3_store import S3Store
from tslc.domain.doctor.store import CONTENT, RIGHTS, Outcome, Right, Role
from tslc.errors import NotRunning, RemoteFailed, TslcError

_DIGEST = hashlib.sha256(CONTENT).digest()
# No object has it: it is that of an upload in so many parts.
_WRONG_TAG = '"00000000000000000000000000000000-9999"'
_MOST = 1024
_LISTED = "models/"


@dataclass
class StoreTrials:
    """One run, in order: later trials use what earlier ones wrote. `left`: keys that stayed."""

    store: S3Store
    role: Role
    key: str
    outcomes: dict[Right, Outcome] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def run(self) -> None:
        trials: dict[Right, Callable[[], None]] = {
            Right.LIST: self._list,
            Right.GET: self._get_nothing,
            Right.PUT: self._put,
            Right.ABSENT: self._put_if_absent,
            Right.MATCH: self._put_if_unchanged,
            Right.MULTIPART: self._put_in_parts,
            Right.UPLOADS: self._list_uploads,
            Right.DELETE: self._delete,
        }
        for right, trial in trials.items():
            if right not in RIGHTS[self.role]:
                continue
            try:
                trial()
            except NotRunning as error:
                # The others would wait for the same silence.
                self.outcomes[right] = Outcome(error.message, error.hint or "")
                break
            except TslcError as error:
                self.outcomes[right] = Outcome(error.message, error.hint or "")
            else:
                self.outcomes[right] = Outcome()
        self._note_left()

    def _list(self) -> None:
        next(iter(self.store.list(_LISTED)), None)

    def _get_nothing(self) -> None:
        """Who may read gets "there is nothing" for a key nobody has, and is refused otherwise."""
        self.store.get(f"{self.key}.none", _MOST)

    def _put(self) -> None:
        self.store.put(self.key, CONTENT, _DIGEST)
        if self.store.get(self.key, _MOST) != CONTENT:
            raise RemoteFailed(f"{self._named} does not give back what was just written there")

    def _put_if_absent(self) -> None:
        """One that is there already, from the trial before or from a run before, is as good."""
        try:
            self.store.put(self.key, CONTENT, _DIGEST, if_absent=True)
        except AlreadyThere:
            return
        try:
            self.store.put(self.key, CONTENT, _DIGEST, if_absent=True)
        except AlreadyThere:
            return
        raise _not_honoured(self.store, "If-None-Match")

    def _put_if_unchanged(self) -> None:
        found = self.store.read(self.key, _MOST)
        if found is None:
            raise RemoteFailed(f"{self._named} was written, and is not there")
        try:
            self.store.put(self.key, CONTENT, _DIGEST, if_tag=_WRONG_TAG)
        except (AlreadyThere, Missing):
            self.store.put(self.key, CONTENT, _DIGEST, if_tag=found.tag)
            return
        raise _not_honoured(self.store, "If-Match")

    def _put_in_parts(self) -> None:
        """An upload is begun, given a part, and broken off: nothing stays of it."""
        client, bucket = self.store.client, self.store.address.bucket
        where = {"Bucket": bucket, "Key": self.store.full(self.key)}
        with translated(self.store.request("s3:PutObject", self.key)):
            upload = client.create_multipart_upload(**where, **self.store.encryption_arguments)
            part = {**where, "UploadId": upload["UploadId"], "PartNumber": 1}
            client.upload_part(**part, Body=CONTENT)
        self.store.abort_upload(self.key, str(upload["UploadId"]))

    def _list_uploads(self) -> None:
        next(iter(self.store.unfinished_uploads("blobs/")), None)

    def _delete(self) -> None:
        self.store.delete([self.key])
        if self.store.stat(self.key) is not None:
            raise RemoteFailed(f"{self._named} was deleted, and is still there")

    def _note_left(self) -> None:
        wrote = {Right.PUT, Right.ABSENT, Right.MATCH} & {
            right for right, outcome in self.outcomes.items() if not outcome.problem
        }
        deleted = self.outcomes.get(Right.DELETE)
        if wrote and (deleted is None or deleted.problem):
            self.left.append(self._named)

    @property
    def _named(self) -> str:
        return f"{self.store.address}/{self.key}"


def _not_honoured(store: S3Store, header: str) -> RemoteFailed:
    return RemoteFailed(
        f"{store.server} does not honour {header}: of two writers at once, one would lose unseen",
        hint="use an S3 that has conditional writes, as AWS does and the local store",
    )


def clock_skew(store: S3Store) -> tuple[float | None, str]:
    """Seconds by which this clock is ahead of the store's, by the Date of any answer, a refusal
    too; None and the reason when there is no answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    began = datetime.now(UTC)
    try:
        answer = store.client.list_objects_v2(Bucket=store.address.bucket, MaxKeys=1)
    except ClientError as error:
        answer = error.response
    except BotoCoreError as error:
        return None, f"{store.server} did not answer: {type(error).__name__}"
    middle = began + (datetime.now(UTC) - began) / 2
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        # It tells whole seconds: half of one is the best guess.
        told = parsedate_to_datetime(headers["date"])
        return (middle - told).total_seconds() - 0.5, ""
    except (KeyError, ValueError, TypeError):
        return None, f"{store.server} sends no Date"
