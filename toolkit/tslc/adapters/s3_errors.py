"""The one place where botocore's exceptions become ours: one clear line, and what to do about it.

Requests that may help when sent again have been sent again by then (s3_store sets how often). Who
only names one of our errors does not load botocore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tslc.errors import BadInput, NotRunning, Refused, RemoteFailed, TslcError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError

_SETTINGS = "tslc config   # the rows store.*"
MOST_SKEW_SECONDS = 15 * 60
_NOTHING = ("404", "NoSuchKey", "NotFound")
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412")
_SAME = ("304", "NotModified")
_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthFailure",
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_REGION = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
)
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "403",
    "Forbidden",
    "AllAccessDisabled",
    "AccountProblem",
)
_BUSY = ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503")
_DAMAGED = (
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
)


class Missing(RemoteFailed):
    """The key is not there."""


class AlreadyThere(Refused):
    """A conditional write found the key taken."""


class Unchanged(RemoteFailed):
    """A conditional read found what the reader has already."""


class BrokenOff(RemoteFailed):
    """An answer began, or should have, and did not end: another try may help."""


@dataclass(frozen=True)
class Request:
    """What was tried: the IAM action, `s3://bucket/key`, and who was asked."""

    action: str
    target: str
    server: str


@contextmanager
def translated(request: Request) -> Iterator[None]:
    """Wrap every use of boto3, the reading of a body included; raises TslcErrors only."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _refusal(request, error.response) from error
    except BotoCoreError as error:
        raise _failure(request, error) from error
    # botocore lets some errors of the line through while a body is read.
    except (ConnectionError, TimeoutError, HTTPError) as error:
        raise _broken_off(request, error) from error


def _failure(request: Request, error: BotoCoreError) -> TslcError:
    """No answer, half an answer, or no request at all."""
    from botocore import exceptions as aws

    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError():
            hint = "give some through boto3's chain: a role, AWS_PROFILE, or `aws configure`"
            return BadInput(f"no AWS credentials for {request.target}", hint=hint)
        case aws.TokenRetrievalError() | aws.UnauthorizedSSOTokenError() | aws.SSOTokenLoadError():
            return BadInput(f"the AWS login is over: {error}", hint="aws sso login")
        case aws.ProfileNotFound():
            return BadInput(f"{error}", hint="aws configure list-profiles")
        case aws.NoRegionError():
            hint = "write store.region into tslc.yaml"
            return BadInput(f"no AWS region for {request.target}", hint=hint)
        case aws.ParamValidationError() | aws.InvalidEndpointDiscoveryConfigurationError():
            return BadInput(f"{request.target}: {error}", hint="tslc config")
        case aws.SSLError():
            return RemoteFailed(f"no trusted connection to {request.server}: {error}")
        case aws.EndpointConnectionError() | aws.ConnectTimeoutError() | aws.ProxyConnectionError():
            return NotRunning(f"{request.server} does not answer", hint=_SETTINGS)
        case _:
            return _broken_off(request, error)


def _broken_off(request: Request, error: BaseException) -> BrokenOff:
    """A stall while a body is sent comes as a closed connection, with the timeout behind it."""
    from botocore.exceptions import ReadTimeoutError

    hint = "try again; what was done is kept"
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, TimeoutError | ReadTimeoutError):
            return BrokenOff(f"{request.server} stalled ({request.target})", hint=hint)
        behind = behind.__cause__ or behind.__context__
    name = type(error).__name__
    return BrokenOff(f"{request.server} broke off ({request.target}): {name}", hint=hint)


def _refusal(request: Request, response: Mapping[str, Any]) -> TslcError:
    """An answer that says no."""
    said = response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if code in _SAME:
        return Unchanged(f"{request.target} is unchanged")
    if code in _NOTHING:
        return Missing(f"nothing at {request.target}")
    if code in _EXISTS:
        return AlreadyThere(f"{request.target} is there already")
    if code == "NoSuchBucket":
        bucket = request.target.split("/")[2]
        return RemoteFailed(f"no bucket {bucket} at {request.server}", hint=_SETTINGS)
    skew = _skew(headers) if code in (*_DENIED, *_CREDENTIALS) else 0.0
    if code == "RequestTimeTooSkewed" or abs(skew) > MOST_SKEW_SECONDS:
        return _clock(request, headers)
    if code in _REGION:
        return _region(request, headers, said)
    if code in _EXPIRED:
        return BadInput(f"the AWS credentials have expired ({code})", hint="log in again")
    if code in _CREDENTIALS:
        hint = "check whose they are: aws sts get-caller-identity"
        return BadInput(f"{request.server} doesn't accept the AWS credentials: {code}", hint=hint)
    if code in _DENIED or code.startswith("KMS"):
        hint = f"let the caller's policy allow {request.action} (deploy/iam has policies)"
        reason = f" ({message})" if message and message != "Forbidden" else ""
        denied = f"access denied: {request.action} on {request.target}{reason}"
        return RemoteFailed(denied, hint=hint)
    if code in _DAMAGED:
        return RemoteFailed(f"{request.target}: bytes were damaged on their way", hint="try again")
    if code in _BUSY:
        hint = "try again later; what was done is kept"
        return RemoteFailed(f"{request.server} is failing ({code}): {request.target}", hint=hint)
    return RemoteFailed(f"{request.action} on {request.target} failed: {code} {message}".rstrip())


def _skew(headers: Mapping[str, str]) -> float:
    """Seconds by which this machine's clock is ahead of the server's; 0 when it doesn't say."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return 0.0


def _clock(request: Request, headers: Mapping[str, str]) -> TslcError:
    skew = _skew(headers)
    by = f" by {abs(skew) / 60:.0f} minutes" if skew else ""
    way = "ahead of" if skew > 0 else "behind" if skew < 0 else "not"
    said = f"{way} that of {request.server}{by}"
    return RemoteFailed(f"this machine's clock is {said}", hint="timedatectl set-ntp true")


def _region(request: Request, headers: Mapping[str, str], said: Mapping[str, Any]) -> TslcError:
    """AWS names the right one in a header or in the answer, by the kind of the mistake."""
    region = headers.get("x-amz-bucket-region") or said.get("Region")
    where = f"it is in {region}" if region else str(said.get("Message", ""))
    hint = f"write `region: {region or '...'}` below `store:` in tslc.yaml"
    return RemoteFailed(f"wrong region for {request.target}: {where}", hint=hint)
