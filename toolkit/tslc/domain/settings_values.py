"""What a single setting may hold: each reader turns what was written into a value, or says why not.

Nothing is guessed: an unknown word is a WrongValue with the nearest right one, never a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from tslc.domain.archive_name import model_name_problem
from tslc.domain.gpus import parse_size
from tslc.domain.release.state import Strategy
from tslc.domain.vocabulary import nearest

# AWS's rules for names of buckets; other servers take no more than these.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_PREFIX_PART = re.compile(r"[A-Za-z0-9!_.*'()=@+-]+")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]*")
_KEY_ID = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")
_MAX_PREFIX = 256
_MOST_BYTES = 2**63 - 1


class WrongValue(Exception):
    """What is wrong with a value, and how to mend it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True)
class LocalStore:
    """The store a local node carries with it."""

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True)
class BucketUrl:
    """`s3://bucket/prefix`; the prefix has no `/` at its ends and may be empty."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


StoreUrl = LocalStore | BucketUrl


class EncryptionType(StrEnum):
    NONE = "none"
    SSE_S3 = "SSE-S3"
    SSE_KMS = "SSE-KMS"


def read_store_url(value: object) -> StoreUrl:
    """`local` or `s3://bucket/prefix`. Law: `read_store_url(str(url)) == url`."""
    text = _text(value)
    if text == "local":
        return LocalStore()
    scheme, separator, rest = text.partition("://")
    if scheme != "s3" or not separator:
        raise WrongValue(f"{_shown(text)} is not a store", "write s3://bucket/prefix, or local")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or _ADDRESS.fullmatch(bucket):
        problem = f"{_shown(bucket)} is not the name of a bucket"
        raise WrongValue(problem, "3 to 63 small letters, digits, '.' and '-'")
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if any(not _PREFIX_PART.fullmatch(part) or part in (".", "..") for part in parts):
        raise WrongValue(f"{_shown(prefix)} is not a prefix", "letters, digits, '-', '_' and '/'")
    if len(prefix) > _MAX_PREFIX:
        raise WrongValue("the prefix is too long", f"at most {_MAX_PREFIX} characters")
    return BucketUrl(bucket, prefix)


def read_endpoint(value: object) -> str:
    """`http://host:port` or `https://…`: no path, no user, no password."""
    text = _text(value).rstrip("/")
    fix = "write http://host:port or https://host:port"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise WrongValue("not a URL", fix) from None
    if parts.username is not None or parts.password is not None:
        raise WrongValue("a URL with a user or password in it", CREDENTIALS_FIX)
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", text):
        raise WrongValue(f"{_shown(text)} is not the address of a server", fix)
    if parts.path or parts.query or parts.fragment:
        raise WrongValue(f"{_shown(text)} has more than a host and a port", fix)
    return text


CREDENTIALS_FIX = "give AWS credentials through boto3's own chain: a role, AWS_PROFILE, aws login"


def read_region(value: object) -> str:
    text = _text(value)
    if not _REGION.fullmatch(text):
        raise WrongValue(f"{_shown(text)} is not a region", "such as eu-central-1")
    return text


def read_encryption(value: object) -> EncryptionType:
    text = _text(value)
    words = [one.value for one in EncryptionType]
    if text in words:
        return EncryptionType(text)
    near = nearest(text.upper(), words)
    fix = f"write {near}" if near else f"one of {', '.join(words)}"
    raise WrongValue(f"{_shown(text)} is no encryption of S3's", fix)


def read_key_id(value: object) -> str:
    """A KMS key: its id, its ARN, or `alias/name`."""
    text = _text(value)
    if not _KEY_ID.fullmatch(text):
        raise WrongValue(f"{_shown(text)} is not a KMS key", "its id, its ARN or alias/name")
    return text


def read_size(value: object) -> int:
    """Bytes, at least 1: a whole number, or `200GiB`."""
    size: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and len(value) < 40:
        size = parse_size(value)
    if size is None or not 0 < size <= _MOST_BYTES:
        raise WrongValue(f"{_shown(value)} is not a size", "such as 200GiB, or bytes")
    return size


def read_path(value: object, folder: Path | None, env: Mapping[str, str]) -> Path:
    """A path; a relative one is below `folder`, `~` is the home of `env`."""
    text = _text(value)
    if "\0" in text:
        raise WrongValue("a path with a zero byte in it", "write a path")
    path = Path(text)
    if path.parts and path.parts[0].startswith("~"):
        home = env.get("HOME")
        if path.parts[0] != "~" or not home:
            raise WrongValue(f"{_shown(text)}: no such home is known", "write the whole path")
        return Path(home, *path.parts[1:])
    return folder / path if folder else path


def read_paths(value: object, folder: Path | None, env: Mapping[str, str]) -> tuple[Path, ...]:
    if not isinstance(value, list):
        raise WrongValue(f"{_shown(value)} is not a list", "write [path, path]")
    return tuple(read_path(one, folder, env) for one in value)


def read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValue(f"{_shown(value)} is neither true nor false", "write true or false")
    return value


def read_strategy(value: object) -> Strategy:
    text = _text(value)
    words = [one.value for one in Strategy]
    if text in words:
        return Strategy(text)
    near = nearest(text, words)
    fix = f"write {near}" if near else f"one of {', '.join(words)}"
    raise WrongValue(f"{_shown(text)} is no strategy", fix)


def read_environment(value: object) -> str:
    """The name of an environment; it becomes part of keys in the store."""
    text = _text(value)
    if problem := model_name_problem(text):
        raise WrongValue(f"not a name: {problem}", "such as production")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValue(f"{_shown(value)} is not a text", "put it in quotes")
    if not value.strip():
        raise WrongValue("it is empty", "leave the key out, or give it a value")
    return value.strip()


def _shown(value: object) -> str:
    """A value in a message; what may hide something (a mapping, a list) is not printed."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) > _MOST_BYTES:
        return "so large a number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
