from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from inspect import isclass

import pytest
from botocore import exceptions as aws
from botocore.exceptions import BotoCoreError, ClientError

from tslc.adapters.s3_errors import AlreadyThere, Missing, Request, translated
from tslc.errors import BadInput, NotRunning, RemoteFailed, TslcError

REQUEST = Request("s3:PutObject", "s3://bucket/prefix/key", "https://s3.example")
LOCAL = [one for one in vars(aws).values() if isclass(one) and issubclass(one, BotoCoreError)]


def translation(error: Exception) -> TslcError:
    with pytest.raises(TslcError) as caught, translated(REQUEST):
        raise error
    return caught.value


def answer(code: str, status: int = 400, **headers: str) -> ClientError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": named}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "PutObject")


@pytest.mark.parametrize("kind", LOCAL, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_becomes_one_of_ours(kind: type[BotoCoreError]):
    error = kind.__new__(kind)
    Exception.__init__(error, "something")
    found = translation(error)
    assert "\n" not in found.message
    assert found.exit_code in (2, 5)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (answer("404"), Missing, "nothing at s3://bucket/prefix/key"),
        (answer("PreconditionFailed", 412), AlreadyThere, "there already"),
        (answer("NoSuchBucket", 404), RemoteFailed, "no bucket bucket"),
        (answer("AccessDenied", 403), RemoteFailed, "access denied: s3:PutObject on s3://bucket"),
        (answer("SlowDown", 503), RemoteFailed, "is failing (SlowDown)"),
        (answer("ExpiredToken", 400), BadInput, "expired"),
        (answer("InvalidAccessKeyId", 403), BadInput, "doesn't accept the AWS credentials"),
        (
            answer("PermanentRedirect", 301, x_amz_bucket_region="eu-west-1"),
            RemoteFailed,
            "wrong region for s3://bucket/prefix/key: it is in eu-west-1",
        ),
        (answer("KMS.NotFoundException"), RemoteFailed, "access denied"),
        (answer("BadDigest"), RemoteFailed, "damaged on their way"),
        (answer("Surprise"), RemoteFailed, "Surprise"),
        (ConnectionResetError("reset"), RemoteFailed, "broke off"),
        (aws.EndpointConnectionError(endpoint_url="x"), NotRunning, "does not answer"),
        (aws.NoCredentialsError(), BadInput, "no AWS credentials"),
    ],
)
def test_each_failure_has_a_line_of_its_own(error: Exception, kind: type, says: str):
    found = translation(error)
    assert isinstance(found, kind)
    assert says in found.message


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "403"])
@pytest.mark.parametrize(("minutes", "way"), [(30, "behind"), (-30, "ahead of")])
def test_a_wrong_clock_is_told_from_a_denied_access(code: str, minutes: int, way: str):
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    found = translation(answer(code, 403, date=date))
    assert f"clock is {way} that of https://s3.example by 30 minutes" in found.message


def test_the_region_is_told_wherever_the_server_names_it():
    error = answer("AuthorizationHeaderMalformed")
    error.response["Error"]["Region"] = "eu-west-1"
    found = translation(error)
    assert found.message.endswith("it is in eu-west-1")
    assert found.hint == "write `region: eu-west-1` below `store:` in tslc.yaml"


def test_a_stall_while_sending_is_told_from_a_closed_connection():
    closed = aws.ConnectionClosedError(endpoint_url="x")
    assert "broke off" in translation(closed).message
    closed.__context__ = TimeoutError("timed out")
    assert "https://s3.example stalled (s3://bucket/prefix/key)" in translation(closed).message
