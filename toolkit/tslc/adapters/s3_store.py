"""Objects in an S3 bucket, below a prefix: whole small ones, streams of big ones, conditions.

Decides nothing about versions. Every error of boto3 is translated (s3_errors); requests that can
succeed when repeated are, here and nowhere else. boto3 is imported when a store is opened: it takes
longer to load than most commands last.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tslc.adapters.s3_errors import (
    AlreadyThere,
    BrokenOff,
    Missing,
    Request,
    translated,
)
from tslc.domain.settings import Encryption, EncryptionType
from tslc.errors import BadInput, RemoteFailed

CONNECTIONS = 32
CHUNK = 1024 * 1024
ATTEMPTS = 6
SILENCE_SECONDS = 15.0
"""An attempt that brings no byte for so long has failed: a server that never answers is given up
after 2 minutes."""
SILENCE = "TSLC_S3_TIMEOUT"
# urllib3 also takes it for each piece it sends: a slow line may need seconds for one.
_CONNECT_SECONDS = 10.0
_IMPATIENT_SECONDS = 5.0
_BODY_ATTEMPTS = 5
_CONDITION_ATTEMPTS = 5
_UNENCRYPTED = Encryption()


@dataclass(frozen=True)
class Credentials:
    """Of the embedded store only; all others come through boto3's own chain."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class StoreAddress:
    """Where the store is and how to reach it. `prefix` without `/` at its ends."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    encryption: Encryption = _UNENCRYPTED
    credentials: Credentials | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class StoredObject:
    """`key` is below the store's prefix; `size` in bytes; `modified` by the server's clock."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Tagged:
    """An object's bytes, the tag a conditional write names them by, and their age in seconds by
    the server's own clock."""

    content: bytes
    tag: str
    age: float


class S3Store:
    """Usable from many threads. Every method raises TslcErrors only."""

    def __init__(self, address: StoreAddress, *, impatient: bool = False) -> None:
        """`impatient`: for one who asks again by himself; each request is tried once."""
        self.address = address
        self.server = address.endpoint_url or "S3"
        with translated(Request("", str(address), self.server)):
            self.client = _client(address, impatient)
            self.server = str(self.client.meta.endpoint_url)

    def request(self, action: str, key: str) -> Request:
        return Request(action, f"s3://{self.address.bucket}/{self.full(key)}", self.server)

    def full(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.address.prefix}/{key}" if self.address.prefix else key

    def get(self, key: str, most: int) -> bytes | None:
        """An object's bytes, None when there is none; raises RemoteFailed beyond `most` bytes."""
        request = self.request("s3:GetObject", key)
        for left in reversed(range(_BODY_ATTEMPTS)):
            try:
                with translated(request):
                    found = self.client.get_object(Bucket=self.address.bucket, Key=self.full(key))
            except Missing:
                return None
            if found["ContentLength"] > most:
                raise RemoteFailed(f"{key} in {self.address} is over {most} bytes")
            try:
                with translated(request):
                    return bytes(found["Body"].read())
            except BrokenOff:
                if not left:
                    raise
        return None

    def read(self, key: str, most: int, *, unless: str | None = None) -> Tagged | None:
        """An object with its tag, None when there is none.

        `unless`: a tag; raises Unchanged when the object still has it. Raises RemoteFailed beyond
        `most` bytes.
        """
        wanted = {"Bucket": self.address.bucket, "Key": self.full(key)}
        condition = {"IfNoneMatch": unless} if unless else {}
        try:
            with translated(self.request("s3:GetObject", key)):
                found = self.client.get_object(**wanted, **condition)
                if found["ContentLength"] > most:
                    raise RemoteFailed(f"{key} in {self.address} is over {most} bytes")
                return Tagged(bytes(found["Body"].read()), str(found["ETag"]), _age(found))
        except Missing:
            return None

    def put(
        self,
        key: str,
        content: bytes,
        digest: bytes,
        *,
        if_absent: bool = False,
        if_tag: str | None = None,
    ) -> None:
        """Write a small object whole; `digest` is its SHA-256, which the server checks.

        `if_absent`: raises AlreadyThere when the key is taken, whoever took it, even ourselves in
        a request whose answer was lost. `if_tag`: likewise when the object has another tag.
        """
        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_tag} if if_tag else {}
        for left in reversed(range(_CONDITION_ATTEMPTS)):
            try:
                with translated(self.request("s3:PutObject", key)):
                    self.client.put_object(
                        Bucket=self.address.bucket,
                        Key=self.full(key),
                        Body=content,
                        ChecksumSHA256=base64.b64encode(digest).decode("ascii"),
                        **condition,
                        **self.encryption_arguments,
                    )
                return
            except AlreadyThere as error:
                # AWS says "conflict" when another conditional write is under way: it may yet fail.
                if "Conflict" not in str(error.__cause__):
                    raise
                if not left:
                    message = f"{key} in {self.address} is being written by others all the time"
                    raise RemoteFailed(message, hint="try again") from error
                time.sleep(0.3)

    def stat(self, key: str) -> StoredObject | None:
        try:
            with translated(self.request("s3:GetObject", key)):
                found = self.client.head_object(Bucket=self.address.bucket, Key=self.full(key))
                return StoredObject(key, found["ContentLength"], found["LastModified"])
        except Missing:
            return None

    def stream(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, in chunks; taken up again where it broke off.

        Raises Missing, and Short when the object ends before `end`.
        """
        tries = _BODY_ATTEMPTS
        while start < end:
            # A request that failed for good has been repeated by boto3.
            body = self._open(key, start, end)
            try:
                for chunk in self._read(key, body, end - start):
                    start += len(chunk)
                    tries = _BODY_ATTEMPTS
                    yield chunk
                if start < end:
                    raise Short(f"{key} in {self.address} ends after {start} bytes")
            except BrokenOff:
                tries -= 1
                if not tries:
                    raise

    def _open(self, key: str, start: int, end: int) -> Any:
        with translated(self.request("s3:GetObject", key)):
            wanted = {"Bucket": self.address.bucket, "Key": self.full(key)}
            try:
                return self.client.get_object(**wanted, Range=f"bytes={start}-{end - 1}")["Body"]
            except self.client.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("InvalidRange", "416"):
                    raise Short(f"{key} in {self.address} ends before byte {start}") from None
                raise

    def _read(self, key: str, body: Any, left: int) -> Iterator[bytes]:
        try:
            while left:
                with translated(self.request("s3:GetObject", key)):
                    chunk = body.read(min(CHUNK, left))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk
        finally:
            if left:
                body.close()

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Everything below a prefix, by key."""
        pages = self.client.get_paginator("list_objects_v2")
        with translated(self.request("s3:ListBucket", prefix)):
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self.full(prefix)):
                for one in page.get("Contents", ()):
                    yield StoredObject(self._short(one["Key"]), one["Size"], one["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        """One request each: some servers want an MD5 of a list of keys that boto3 gives no more."""

        def delete(key: str) -> None:
            with translated(self.request("s3:DeleteObject", key)):
                self.client.delete_object(Bucket=self.address.bucket, Key=self.full(key))

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(delete, keys):
                pass

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """Key, id and start of every upload in parts that was begun and not finished."""
        pages = self.client.get_paginator("list_multipart_uploads")
        with translated(self.request("s3:ListBucketMultipartUploads", prefix)):
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self.full(prefix)):
                for one in page.get("Uploads", ()):
                    yield self._short(one["Key"]), one["UploadId"], one["Initiated"]

    def abort_upload(self, key: str, upload: str) -> None:
        try:
            with translated(self.request("s3:AbortMultipartUpload", key)):
                self.client.abort_multipart_upload(
                    Bucket=self.address.bucket, Key=self.full(key), UploadId=upload
                )
        except RemoteFailed as error:
            if "NoSuchUpload" not in error.message:
                raise

    @property
    def encryption_arguments(self) -> dict[str, str]:
        encryption = self.address.encryption
        match encryption.type:
            case EncryptionType.NONE:
                return {}
            case EncryptionType.SSE_S3:
                return {"ServerSideEncryption": "AES256"}
            case EncryptionType.SSE_KMS:
                key = {"SSEKMSKeyId": encryption.key_id} if encryption.key_id else {}
                return {"ServerSideEncryption": "aws:kms", **key}

    def _short(self, key: str) -> str:
        return key.removeprefix(self.full(""))


class Short(RemoteFailed):
    """An object has fewer bytes than it should."""


def _age(found: Mapping[str, Any]) -> float:
    """Seconds since an object was written; S3 tells times in whole seconds."""
    told = found["ResponseMetadata"]["HTTPHeaders"].get("date")
    try:
        at = parsedate_to_datetime(told) if told else datetime.now(UTC)
    except ValueError:
        at = datetime.now(UTC)
    return max(0.0, float((at - found["LastModified"]).total_seconds()))


def _client(address: StoreAddress, impatient: bool) -> Any:
    import boto3
    from botocore.config import Config

    credentials = address.credentials
    session = boto3.Session(
        aws_access_key_id=credentials and credentials.access_key,
        aws_secret_access_key=credentials and credentials.secret_key,
        region_name=address.region or (credentials and "us-east-1"),
    )
    silence = _IMPATIENT_SECONDS if impatient else _silence_seconds()
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, silence),
        read_timeout=silence,
        # "standard" gives up when some thirty requests in flight have failed in two seconds.
        retries={"mode": "legacy", **({"total_max_attempts": 1} if impatient else _attempts())},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # No proxy of the environment stands between this machine and itself.
        proxies={} if credentials else None,
        # What a request sends is signed by its SHA-256, over TLS too: every S3 checks that, and any
        # other checksum would be one more of the same bytes.
        s3={"payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", endpoint_url=address.endpoint_url, config=config)


def _attempts() -> dict[str, int]:
    """AWS's own variable wins."""
    return {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": ATTEMPTS}


def _silence_seconds() -> float:
    text = os.environ.get(SILENCE, "")
    try:
        seconds = float(text or SILENCE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise BadInput(f"{SILENCE} is {text!r}", hint="write seconds: 1 to 3600")
    return seconds
