"""A job's input artifact: fetched with the job's own credentials, unpacked into a folder.

CodePipeline's artifacts are zip files. What would land outside the folder, links, and more than a
source tree has any need of are refused before anything is written.
"""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from tslc.adapters.s3_errors import Request, translated
from tslc.domain.pipeline.action import ArtifactCredentials, ArtifactPlace
from tslc.errors import BadInput, Refused

MOST_BYTES = 256 * 1024 * 1024
MOST_UNPACKED = 1024 * 1024 * 1024
MOST_FILES = 20_000
_ATTEMPTS = 6


def fetch_artifact(
    place: ArtifactPlace,
    credentials: ArtifactCredentials,
    region: str | None,
    endpoint_url: str | None = None,
) -> bytes:
    """The zip. `endpoint_url`: where S3 is, if it is not AWS's. Raises RemoteFailed; Refused for
    one that is too large."""
    server = endpoint_url or "S3"
    with translated(Request("s3:GetObject", f"s3://{place.bucket}/{place.key}", server)):
        found = _client(credentials, region, endpoint_url).get_object(
            Bucket=place.bucket, Key=place.key
        )
        if found["ContentLength"] > MOST_BYTES:
            raise _too_much(place, f"over {MOST_BYTES} bytes")
        return bytes(found["Body"].read())


def _client(credentials: ArtifactCredentials, region: str | None, endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.Session(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.session_token,
        region_name=region,
    )
    # An artifact that is encrypted with KMS is given to requests of signature version 4 only.
    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS}, signature_version="s3v4"
    )
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def unpack(content: bytes, place: ArtifactPlace, folder: Path) -> None:
    """Raises BadInput for what is no zip, Refused for one that may not be unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            _expect_harmless(packed, place)
            packed.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadInput(f"the artifact {place.name} is no zip that can be read: {error}") from None


def _expect_harmless(packed: zipfile.ZipFile, place: ArtifactPlace) -> None:
    entries = packed.infolist()
    if len(entries) > MOST_FILES:
        raise _too_much(place, f"over {MOST_FILES} files")
    if sum(one.file_size for one in entries) > MOST_UNPACKED:
        raise _too_much(place, f"over {MOST_UNPACKED} bytes unpacked")
    for one in entries:
        path = PurePosixPath(one.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in one.filename:
            raise Refused(f"the artifact {place.name} has {one.filename!r}, which leads out of it")
        if stat.S_ISLNK(one.external_attr >> 16):
            raise Refused(f"the artifact {place.name} has a link in it: {one.filename!r}")


def _too_much(place: ArtifactPlace, how: str) -> Refused:
    hint = "give the action an artifact with the plan and what it names, not with archives"
    return Refused(f"the artifact {place.name} is {how}", hint=hint)
