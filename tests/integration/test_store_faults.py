"""Networks and servers that fail under real commands: what can be repeated is, the rest ends in one
line that says what to do, and nothing half-done stays.

Between boto3 and a real S3 stands a proxy that fails as each test plans it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from faulty_proxy import (
    Answer,
    Fault,
    FaultyProxy,
    Match,
    Request,
    Reset,
    Slow,
    Stall,
    Where,
    always,
    each,
    first,
    one_each,
)
from nodes import Ran
from s3 import S3Server
from store_shop import Shop, spoilt, weights
from tslc.verbs.store_access import find_manifest
from tslc.verbs.versions import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
MODEL = ("tiny", "1.0.0")
WEIGHTS = weights(20)
MB = 1_000_000
# A server that says nothing is given up sooner than in production: tests have no minutes.
HASTE = {"TSLC_S3_TIMEOUT": "1"}
BUSY = Answer(503, "SlowDown", message="Please reduce your request rate.")


@dataclass(frozen=True)
class Wire:
    """`far`: the store through the proxy; `near`: the same one without it."""

    proxy: FaultyProxy
    far: Shop
    near: Shop

    @property
    def elsewhere(self) -> Shop:
        """A place in the store that is this test's alone."""
        return replace(self.near, prefix=f"elsewhere/{self.near.root.name}")

    @property
    def scratch(self) -> Path:
        return Path(self.far.environment["TMPDIR"])


def ended(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out, err)


def wired(proxy: FaultyProxy, near: Shop) -> Wire:
    scratch = near.root / "tmp"
    scratch.mkdir()
    environment = {**near.environment, **HASTE, "TMPDIR": str(scratch)}
    server = replace(near.server, endpoint_url=proxy.url)
    return Wire(proxy, replace(near, server=server, environment=environment), near)


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    with FaultyProxy(shop.server.endpoint_url) as proxy:
        yield wired(proxy, shop)


@pytest.fixture(scope="session")
def archive(archives) -> Path:
    return archives.build(*MODEL, weights=WEIGHTS)


@pytest.fixture(scope="module")
def pushed(s3: S3Server, archives, archive: Path, tmp_path_factory) -> Shop:
    """A store that has the version; tests only read it."""
    shop = Shop(s3, s3.new_bucket(), archives, tmp_path_factory.mktemp("pushed"))
    shop.ok("push", archive)
    return shop


@pytest.fixture
def stocked(pushed: Shop, tmp_path: Path) -> Iterator[Wire]:
    """To a store that has the version, from a place that has nothing of it."""
    with FaultyProxy(pushed.server.endpoint_url) as proxy:
        yield wired(proxy, replace(pushed, root=tmp_path))


def sends(request: Request) -> bool:
    return request.of_blob and request.method == "PUT"


def makes(request: Request) -> bool:
    return request.method == "PUT" and request.path.endswith("manifest.json")


def sends_part(request: Request) -> bool:
    return sends(request) and "partNumber=" in request.query


def fetches(request: Request) -> bool:
    return request.of_blob and request.method == "GET"


def fetches_segment(request: Request) -> bool:
    """Of those that are cut into several; other blobs are smaller than what is cut off."""
    return fetches(request) and int(request.span.rpartition("-")[2]) > 3 * MB


def works(request: Request) -> bool:
    return request.of_blob or "list-type" in request.query


def alters(request: Request) -> bool:
    """An upload whose beginning was done and not heard of has no name that a client could end it
    by; `tslc gc` finds those."""
    return sends(request) or request.method == "POST"


ERRORS = (Answer(500, "InternalError"),) * 3 + (BUSY,) * 2 + (Answer(502, "BadGateway"),)
BREAKS = (Reset(),) * 4 + (Reset(Where.LOST),) * 4 + (Stall(),) * 2


@pytest.mark.parametrize(
    ("faults", "match"),
    [
        pytest.param(ERRORS, sends, id="errors"),
        pytest.param(BREAKS, sends, id="breaks"),
        pytest.param((Reset(Where.REQUEST, 3 * MB),) * 2, sends_part, id="resets in the body"),
        pytest.param((Stall(Where.REQUEST, 3 * MB),) * 2, sends_part, id="stalls in the body"),
        pytest.param((Reset(Where.LOST),) * 2, lambda r: r.method == "POST", id="parts lost"),
    ],
)
def test_a_push_gets_over_it(wire: Wire, archive: Path, faults: tuple[Fault, ...], match: Match):
    wire.proxy.plan = one_each(faults, match)
    assert wire.far.ok("push", archive)["outcome"] == "pushed"
    assert len(wire.proxy.failed) == len(faults)
    expect_whole_in_store(wire.near)


def test_a_push_whose_last_answer_is_lost_finds_its_own_version(wire: Wire, archive: Path):
    wire.proxy.plan = first(1, Reset(Where.LOST), makes)
    assert wire.far.ok("push", archive)["outcome"] == "exists"
    assert len(wire.proxy.failed) == 1
    expect_whole_in_store(wire.near)


@pytest.mark.parametrize(
    ("faults", "match"),
    [
        pytest.param(ERRORS, fetches, id="errors"),
        pytest.param(BREAKS, fetches, id="breaks"),
        pytest.param((Reset(Where.ANSWER, 3 * MB),) * 2, fetches_segment, id="resets in the body"),
        pytest.param((Stall(Where.ANSWER, 3 * MB),) * 2, fetches_segment, id="stalls in the body"),
    ],
)
def test_a_pull_gets_over_it(stocked: Wire, faults: tuple[Fault, ...], match: Match):
    stocked.proxy.plan = one_each(faults, match)
    pulled = stocked.far.ok("pull", *MODEL, "out")
    assert len(stocked.proxy.failed) == len(faults)
    expect_whole(stocked, pulled["folder"])
    # It went on where it broke off, but for what was read and not yet given out.
    again = stocked.proxy.passed - pulled["fetched_bytes"]
    assert again < len(faults) * 1.5 * MB


def expect_whole(wire: Wire, folder: str) -> None:
    for name, content in WEIGHTS.items():
        assert Path(folder, "weights", name).read_bytes() == content
    assert spoilt(wire.far.cache) == []


def expect_whole_in_store(shop: Shop) -> None:
    verify(shop.store(), *MODEL, check=lambda manifest, signature: "")


def test_a_list_gets_over_it(stocked: Wire):
    faults = (Answer(500, "InternalError"), Reset(Where.ANSWER, 100))
    stocked.proxy.plan = one_each(faults)
    assert [row["version"] for row in stocked.far.ok("list")] == ["1.0.0"]
    assert len(stocked.proxy.failed) == len(faults)


def test_a_slow_line_is_not_taken_for_a_stalled_one(stocked: Wire):
    stocked.proxy.plan = always(Slow(4 * MB), fetches)
    began = time.monotonic()
    pulled = stocked.far.ok("pull", *MODEL, "out")
    assert time.monotonic() - began > 2 * float(HASTE["TSLC_S3_TIMEOUT"])
    expect_whole(stocked, pulled["folder"])
    assert stocked.proxy.passed == pulled["fetched_bytes"]


def push_and_pull(wire: Wire, archive: Path, *more: str, **environment: str) -> list[Ran]:
    """At the same time; the push is to where the version is not, the pull from where it is."""
    near = replace(wire.far, environment={**wire.far.environment, **environment})
    running = [
        *(near.start(command) for command in more),
        replace(near, prefix=wire.elsewhere.prefix).start("push", archive),
        near.start("pull", *MODEL, near.root / "out"),
    ]
    return [ended(process) for process in running]


def test_every_request_may_fail_twice(stocked: Wire, archive: Path):
    stocked.proxy.plan = each(2, Reset(), works)
    ends = push_and_pull(stocked, archive)
    assert [ran.code for ran in ends] == [0, 0], ends
    assert len(stocked.proxy.failed) > 60
    expect_whole(stocked, str(stocked.far.root / "out" / "-".join(MODEL)))
    expect_whole_in_store(stocked.elsewhere)


def expect_nothing_left(wire: Wire) -> None:
    elsewhere = wire.elsewhere.store()
    assert find_manifest(elsewhere, *MODEL) is None
    assert list(elsewhere.unfinished_uploads("")) == []
    assert list(wire.scratch.iterdir()) == []
    leases = wire.far.cache / "leases"
    assert not leases.exists() or list(leases.iterdir()) == []
    out = wire.far.root / "out"
    assert not out.exists() or list(out.iterdir()) == []


def expect_one_line(ran: Ran, code: int, *says: str) -> None:
    """And the hint."""
    assert ran.code == code, ran
    assert ran.out == ""
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    for word in says:
        assert word in error


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(lambda where: BUSY, "is failing (SlowDown)", id="busy"),
        pytest.param(lambda where: Reset(where, 100), "broke off", id="resets"),
        pytest.param(lambda where: Stall(), "stalled", id="stalls"),
        pytest.param(lambda where: Stall(where, 100), "stalled", id="stalls in the body"),
    ],
)
def test_a_server_that_never_gets_well_is_given_up_with_one_line(
    stocked: Wire, archive: Path, fault: Callable[[Where], Fault], says: str
):
    sent, got = (fault(where) for where in (Where.REQUEST, Where.ANSWER))
    of_sent, of_got = always(sent, sends), always(got, lambda r: works(r) and not alters(r))
    stocked.proxy.plan = lambda request: of_sent(request) or of_got(request)
    began = time.monotonic()
    ends = push_and_pull(stocked, archive, "list", AWS_MAX_ATTEMPTS="2", TSLC_S3_TIMEOUT="0.4")
    seconds = time.monotonic() - began
    print(f"{seconds:.1f} s")
    for ran in ends:
        expect_one_line(ran, 5, says, stocked.proxy.url)
    assert seconds < 30
    expect_nothing_left(stocked)


ELSEWHERE = {"x-amz-bucket-region": "eu-west-1"}
IS_ELSEWHERE = ("wrong region for s3://", ": it is in eu-west-1")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer(403, "AccessDenied"), ("access denied: ",), id="access denied"),
        pytest.param(
            Answer(301, "PermanentRedirect", headers=ELSEWHERE), IS_ELSEWHERE, id="bucket elsewhere"
        ),
        pytest.param(
            Answer(400, "AuthorizationHeaderMalformed", extra={"Region": "eu-west-1"}),
            IS_ELSEWHERE,
            id="signed for another region",
        ),
    ],
)
def test_what_the_store_refuses_is_told_in_one_line(
    stocked: Wire, archive: Path, answer: Answer, says: tuple[str, ...]
):
    stocked.proxy.plan = always(answer)
    for ran in push_and_pull(stocked, archive):
        expect_one_line(ran, 5, *says)
    expect_nothing_left(stocked)


def test_a_right_that_ends_in_the_middle_leaves_nothing_half_done(stocked: Wire, archive: Path):
    denied = Answer(403, "AccessDenied")
    is_late = always(denied, lambda r: sends_part(r) and "partNumber=3" in r.query)
    stocked.proxy.plan = lambda r: is_late(r) or always(denied, fetches_segment)(r)
    pushed, pulled = push_and_pull(stocked, archive)
    expect_one_line(pushed, 5, "access denied: s3:PutObject on s3://")
    expect_one_line(pulled, 5, "access denied: s3:GetObject on s3://")
    expect_nothing_left(stocked)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_credentials_that_the_store_does_not_know_are_told_in_one_line(
    stocked: Wire, archive: Path, wrong: Mapping[str, str], says: str
):
    for ran in push_and_pull(stocked, archive, **wrong):
        expect_one_line(ran, 2, f"{stocked.proxy.url} doesn't accept the AWS credentials: {says}")
    expect_nothing_left(stocked)


OTHER_CLOCK = """
import datetime, time
SHIFT = datetime.timedelta(minutes={minutes})
real_datetime, real_time = datetime.datetime, time.time
class Shifted(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.now(tz) + SHIFT
    @classmethod
    def utcnow(cls):
        return real_datetime.utcnow() + SHIFT
datetime.datetime = Shifted
time.time = lambda: real_time() + SHIFT.total_seconds()
"""


def test_a_wrong_clock_which_a_real_store_refuses_is_told_in_one_line(stocked: Wire, archive: Path):
    place = stocked.near.root / "clock"
    place.mkdir()
    (place / "sitecustomize.py").write_text(OTHER_CLOCK.format(minutes=-40))
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    for ran in push_and_pull(stocked, archive, PYTHONPATH=path):
        said = f"this machine's clock is behind that of {stocked.proxy.url} by 40 minutes"
        expect_one_line(ran, 5, said)
    expect_nothing_left(stocked)


def test_a_server_that_is_not_there_is_told_in_one_line(stocked: Wire, archive: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for ran in push_and_pull(stocked, archive, AWS_ENDPOINT_URL_S3=url, AWS_MAX_ATTEMPTS="2"):
            expect_one_line(ran, 5, f"{url} does not answer")
    expect_nothing_left(stocked)
