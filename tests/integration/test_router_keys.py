"""Who may ask, how often; what is logged of it; certificates that change while the router runs."""

from __future__ import annotations

import hashlib
import json
import random
import ssl
import string
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from nodes import eventually
from routers import SALT, Router, Worker, route, router, upstream, worker
from tslc.adapters.private_files import write_private
from tslc.adapters.self_signed import write_certificate
from tslc.domain.router.table import ApiKey, RouterTable, Sticky, StickyBy

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def one(short_folder: Path) -> Iterator[Router]:
    with router(short_folder) as started:
        yield started


@pytest.fixture(scope="module")
def tiny(short_folder: Path) -> Iterator[Worker]:
    with worker(short_folder, "m", "1") as started:
        yield started


@pytest.fixture
def table(tiny: Worker) -> RouterTable:
    return RouterTable((route("m", [("1", 10_000)]),), (upstream("m", "1", tiny),))


def key(name: str, text: str, per_minute: int | None = None) -> ApiKey:
    return ApiKey(name, hashlib.sha256(text.encode()).hexdigest(), per_minute)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_only_who_has_a_key_is_answered(one: Router, table: RouterTable) -> None:
    one.serve(replace(table, keys=(key("ann", "secret-a"), key("bob", "secret-b"))))
    for text in ("secret-a", "secret-b"):
        answer = one.ask(headers=bearer(text))
        assert answer.status_code == 200
        assert "authorization" not in answer.json()["headers"]
        assert text not in answer.text
    assert one.ask(headers={"authorization": "bearer  secret-a"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("secret"),
        bearer("secret-a secret-a"),
        {"authorization": "Bearer"},
        bearer("x" * 10_000),
        {"authorization": "Basic secret-a"},
        {"authorization": "secret-a"},
        {"x-tslc-key-sha256": hashlib.sha256(b"secret-a").hexdigest()},
        bearer(hashlib.sha256(b"secret-a").hexdigest()),
    ],
    ids=str,
)
def test_who_has_no_good_key_is_refused(
    one: Router, table: RouterTable, headers: dict[str, str]
) -> None:
    one.serve(replace(table, keys=(key("ann", "secret-a"),)))
    for path in ("/v1/echo", "/m/v1/echo", "/v1/nothing", "/nothing", "/health/x"):
        answer = one.ask(path=path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == 401
        assert answer.json()["error"]["type"] == "AuthenticationError"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert one.client.get("/v1/models", headers=headers).status_code == 401


def test_a_body_is_not_taken_in_before_the_key_is_known(one: Router, table: RouterTable) -> None:
    one.serve(replace(table, keys=(key("ann", "secret-a"),)))
    large = {"model": "m", "x": "x" * 40_000_000}
    assert one.ask(body=large).status_code == 401


def test_health_needs_no_key(one: Router, table: RouterTable) -> None:
    one.serve(replace(table, keys=(key("ann", "secret-a"),)))
    assert one.client.get("/health").status_code == 200


def test_a_key_that_was_revoked_is_refused_at_once(one: Router, table: RouterTable) -> None:
    ann, bob = key("ann", "secret-a"), key("bob", "secret-b")
    one.serve(replace(table, keys=(ann, bob)))
    assert one.ask(headers=bearer("secret-a")).status_code == 200
    one.serve(replace(table, keys=(bob,)))
    assert eventually(lambda: one.ask(headers=bearer("secret-a")).status_code == 401, 2)
    assert one.ask(headers=bearer("secret-b")).status_code == 200
    one.serve(table)
    assert eventually(lambda: one.ask().status_code == 200, 2)


def test_each_key_has_its_own_rate(one: Router, table: RouterTable) -> None:
    keys = (key("slow", "s", 3), key("quick", "q", 10_000), key("free", "f"))
    one.serve(replace(table, keys=keys))
    statuses = [one.ask(headers=bearer("s")).status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 429, 429, 429]
    answer = one.ask(headers=bearer("s"))
    assert answer.json()["error"]["type"] == "RateLimitError"
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    for text in ("q", "f"):
        assert {one.ask(headers=bearer(text)).status_code for _ in range(20)} == {200}


def test_a_key_that_may_never_ask_opens_nothing(one: Router, table: RouterTable) -> None:
    one.serve(replace(table, keys=(key("never", "n", 0),)))
    for headers in (bearer("n"), {}):
        assert one.ask(headers=headers).status_code == 401


def test_no_key_and_no_user_is_in_any_log_or_readable_file(one: Router, table: RouterTable) -> None:
    split = replace(table.models[0], sticky=Sticky(StickyBy.HEADER, "x-user-id"))
    one.serve(replace(table, models=(split,), keys=(key("ann", "secret-a"),)))
    headers = bearer("secret-a") | {"x-user-id": "ann@example.org"}
    body = {"prompt": "a secret prompt", "max_tokens": 1, "user": "ann@example.org"}
    answer = one.ask(path="/v1/completions?q=secret-query", headers=headers, body=body)
    assert answer.status_code == 200
    line = one.logged(answer.headers["x-request-id"])
    assert line["key"] == "ann"
    for path in one.envoy.paths.root.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "secret" not in text, path
            assert "example.org" not in text, path


def test_the_access_log_tells_who_answered_and_how_fast(one: Router, table: RouterTable) -> None:
    split = replace(table.models[0], sticky=Sticky(StickyBy.HEADER, "x-user-id"))
    one.serve(replace(table, models=(split,), keys=(key("ann", "secret-a"),)))
    headers = bearer("secret-a") | {"x-user-id": "u7"}
    tokens = {"prompt": "w", "max_tokens": 10, "stream": True, "tiny": {"delay": 0.05}}
    body = {"model": "m", **tokens}
    started = time.monotonic()

    def spent() -> float:
        return (time.monotonic() - started) * 1000

    with one.client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        came = [(spent(), len(piece)) for piece in answer.iter_raw()]
        whole = spent()
    line = one.logged(answer.headers["x-request-id"])
    hashed = hashlib.sha256((SALT + "u7").encode()).hexdigest()[:16]
    who = {"model": "m", "version": "1", "key": "ann", "user": hashed}
    what = {"status": 200, "flags": "-", "method": "POST", "path": "/v1/completions", "attempts": 1}
    assert {name: line[name] for name in who | what} == who | what
    assert line["bytes_in"] == len(json.dumps(body, separators=(",", ":")))
    assert line["bytes_out"] >= sum(length for _, length in came)
    # On a busy machine the client sees either late, and never early: the bounds are its own.
    assert 0 <= line["first_byte_ms"] <= came[0][0]
    assert 500 <= line["duration_ms"] <= whole
    refused = one.ask(headers={"x-request-id": "refused-1"})
    assert refused.status_code == 401
    assert one.logged("refused-1")["status"] == 401


def test_the_routers_own_hash_is_sha_256(one: Router, table: RouterTable) -> None:
    split = replace(table.models[0], sticky=Sticky(StickyBy.HEADER, "x-user-id"))
    one.serve(replace(table, models=(split,)))
    dice = random.Random(7)
    asked = {}
    for length in (*range(1, 140), 500, 4000):
        user = "".join(dice.choices(string.ascii_letters + string.digits, k=length))
        answer = one.ask(headers={"x-user-id": user, "x-request-id": f"hash-{length}"})
        assert answer.status_code == 200
        asked[f"hash-{length}"] = hashlib.sha256((SALT + user).encode()).hexdigest()[:16]
    one.logged("hash-4000")
    logged = {line["request_id"]: line["user"] for line in one.log()}
    assert {name: logged[name] for name in asked} == asked


def test_a_log_that_grew_is_put_aside(one: Router, table: RouterTable) -> None:
    one.serve(table)
    before = one.ask().headers["x-request-id"]
    one.logged(before)
    assert not one.envoy.rotate_access_log(10**9)
    assert one.envoy.rotate_access_log(10)
    after = one.ask().headers["x-request-id"]
    assert one.logged(after)
    assert before not in one.envoy.paths.access_log.read_text()
    assert before in one.envoy.paths.access_log.with_name("access.log.1").read_text()


def test_a_certificate_is_shown_and_replaced_while_running(
    short_folder: Path, table: RouterTable
) -> None:
    folder = short_folder / "tls"
    folder.mkdir()
    cert, secret = folder / "tls.pem", folder / "tls.key"
    write_certificate(cert, secret)
    with router(short_folder, certificate=cert, certificate_key=secret) as served:
        served.serve(table)
        assert served.envoy.address.startswith("https://")
        first = shown(served)
        assert first == ssl.PEM_cert_to_DER_cert(cert.read_text())
        with client(cert, served) as trusting:
            answer = trusting.post("/v1/echo", json={"model": "m"})
            assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        write_certificate(secret.with_name("new.pem"), secret.with_name("new.key"))
        write_private(secret, secret.with_name("new.key").read_bytes())
        write_private(cert, secret.with_name("new.pem").read_bytes())
        assert eventually(lambda: shown(served) != first, 10)
        assert shown(served) == ssl.PEM_cert_to_DER_cert(cert.read_text())
        with pytest.raises(httpx.HTTPError):
            httpx.get(served.envoy.address.replace("https", "http") + "/health")


def client(cert: Path, served: Router) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(cert))
    # The certificate names `tslc`, not this address.
    context.check_hostname = False
    return httpx.Client(base_url=served.envoy.address, verify=context)


def shown(served: Router) -> bytes:
    where = ("127.0.0.1", served.envoy.settings.port)
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(where))
