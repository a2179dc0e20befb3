"""Changing an environment in a real S3: one wins, nothing is half-done, the history is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from faulty_proxy import FaultyProxy, Request, Reset, Where, first
from nodes import TinyArchives
from s3 import S3Server
from store_shop import Shop
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_errors import Unchanged
from tslc.domain.release.changes import promote
from tslc.domain.release.report import ModelReport, NodeReport, Phase, VersionReport
from tslc.domain.release.state import ModelState, Strategy
from tslc.errors import Refused
from tslc.verbs.environment import Telling, change_model
from tslc.verbs.history import verify_history
from tslc.verbs.store_trust import unchecked

pytestmark = pytest.mark.integration
STATE = "environments/dev/state.json"
TELLING = Telling("anna", "why not", "a change")
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@pytest.fixture(scope="module")
def stocked(s3: S3Server, archives: TinyArchives, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A bucket with three versions of `m`; each test has an environment's worth of it to itself."""
    shop = Shop(s3, s3.new_bucket(), archives, tmp_path_factory.mktemp("shop"))
    for version in VERSIONS:
        shop.ok("push", archives.build("m", version, environment={"V": version}))
    return shop


@pytest.fixture
def shop(stocked: Shop) -> Iterator[Shop]:
    yield stocked
    stocked.store().delete([one.key for one in stocked.store().list("environments/")])


def objects(shop: Shop) -> EnvironmentObjects:
    return EnvironmentObjects(shop.store(), "dev")


def to(version: str) -> object:
    return lambda before: promote(before, version, Strategy.WARM)


def change(shop: Shop, version: str) -> None:
    change_model(shop.store(), "dev", "m", to(version), TELLING, unchecked)  # type: ignore[arg-type]


def test_a_story_of_changes_is_told_by_its_history(shop: Shop) -> None:
    assert shop.ok("promote", "m", "1.0.0", "--reason", "the first")["generation"] == 1
    planned = shop.ok("split", "m", "1.0.0=90", "1.1.0=10", "--dry-run")
    assert (planned["changed"], planned["generation"]) == (False, 1)
    shop.ok("split", "m", "1.0.0=90", "1.1.0=10")
    shop.ok("promote", "m", "1.1.0")
    shop.ok("rollback", "m", "--reason", "it swears")
    shop.ok("retire", "m", "1.1.0")
    told = shop.ok("history")
    assert [one["what"] for one in told] == [
        "promote m 1.0.0",
        "split m 1.0.0=90 1.1.0=10",
        "promote m 1.1.0",
        "rollback m",
        "retire m 1.1.0",
    ]
    assert told[3]["why"] == "it swears"
    assert told[3]["from"]["m"]["shares"] == {"1.1.0": 100.0, "1.0.0": 0.0}
    assert told[3]["to"]["m"]["shares"] == {"1.1.0": 0.0, "1.0.0": 100.0}
    assert [one["previous"] for one in told[1:]] == [one["digest"] for one in told[:-1]]
    then = shop.ok("history", "--at", told[1]["when"])
    assert then["models"]["m"]["shares"] == {"1.0.0": 90.0, "1.1.0": 10.0}
    assert shop.ok("history", "verify")["flaws"] == []


def test_what_is_so_already_is_not_written_again(shop: Shop) -> None:
    shop.ok("promote", "m", "1.0.0")
    again = shop.ok("promote", "m", "1.0.0")
    assert (again["changed"], again["generation"]) == (False, 1)


def test_of_two_people_one_wins_and_the_other_is_told_what_changed(shop: Shop) -> None:
    change(shop, "1.0.0")

    def meanwhile(before: ModelState | None) -> ModelState:
        other = Telling("bert", "in a hurry", "promote m 1.2.0")
        change_model(shop.store(), "dev", "m", to("1.2.0"), other, unchecked)  # type: ignore[arg-type]
        return promote(before, "1.1.0", Strategy.WARM)

    with pytest.raises(Refused) as lost:
        change_model(shop.store(), "dev", "m", meanwhile, TELLING, unchecked)
    assert "to generation 2, by bert: promote m 1.2.0 (in a hurry)" in lost.value.message
    assert lost.value.exit_code == 3
    state = objects(shop).read_state()
    assert state is not None
    assert state.state.models["m"].stable == "1.2.0"
    assert verify_history(shop.store(), "dev").flaws == ()


def test_of_many_at_once_each_winner_has_its_entry_and_no_entry_is_without_a_winner(
    shop: Shop,
) -> None:
    change(shop, "1.0.0")
    words = [("promote", "m", VERSIONS[i % 3], "--reason", f"number {i}") for i in range(8)]
    running = [shop.start(*one, "--json") for one in words]
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    codes = [code for _, code in ended]
    assert set(codes) <= {0, 3}, ended
    written = [json.loads(out)["changed"] for (out, _), code in ended if code == 0]
    history = verify_history(shop.store(), "dev")
    assert history.flaws == ()
    assert history.entries == 1 + sum(written)
    assert sum(written) >= 1


def test_a_writer_that_died_between_state_and_history_leaves_no_gap(shop: Shop) -> None:
    change(shop, "1.0.0")
    change(shop, "1.1.0")
    shop.store().delete(["environments/dev/history/0000000002.json"])
    assert verify_history(shop.store(), "dev").flaws == ()
    assert len(shop.ok("history")) == 2
    change(shop, "1.2.0")
    assert verify_history(shop.store(), "dev").entries == 3
    assert verify_history(shop.store(), "dev").flaws == ()


def test_a_gap_and_an_edit_are_found(shop: Shop) -> None:
    for version in VERSIONS:
        change(shop, version)
    key = "environments/dev/history/0000000002.json"
    original = shop.read(key)
    shop.overwrite(key, original.replace(b"why not", b"because"))
    edited = shop("history", "verify")
    assert edited.code == 3
    assert "generation 3: it does not follow generation 2" in edited.err
    shop.store().delete([key])
    assert "generation 2: missing" in shop("history", "verify").err
    assert shop("history").code == 3
    shop.overwrite(key, original)
    assert shop("history", "verify").code == 0
    # The newest has nothing after it; the state gives it away.
    last = "environments/dev/history/0000000003.json"
    shop.overwrite(last, shop.read(last).replace(b"why not", b"because"))
    assert "the state is not what the history says" in shop("history", "verify").err


def test_the_state_of_a_newer_tslc_is_left_alone(shop: Shop) -> None:
    change(shop, "1.0.0")
    newer = json.dumps(json.loads(shop.read(STATE)) | {"schema": 2}).encode()
    shop.overwrite(STATE, newer)
    for words in (("promote", "m", "1.1.0"), ("rollback", "m"), ("status", "--env", "dev")):
        ran = shop(*words)
        assert ran.code == 3, ran
        assert "written by a newer tslc (schema 2, this one knows 1)" in ran.err
        assert "hint: upgrade tslc here" in ran.err
    assert shop.read(STATE) == newer


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("split", "m", "1.0.0=90", "1.1.0=20"), 2, "90% + 20% is 110%, not 100%"),
        (("split", "m", "1.0.0=100", "--sticky", "x"), 2, "header:NAME or cookie:NAME"),
        (("promote", "m", "1.1.9"), 2, "nearest: 1.1.0"),
        (("promote", "mm", "1.1.0"), 2, "nearest: m"),
        (("promote", "m", "../x"), 2, "may hold only"),
        (("rollback", "m"), 2, "m is not served"),
        (("retire", "m", "1.0.0"), 2, "m is not served here"),
        (("keys", "revoke", "k"), 2, "has no key k"),
        (("history", "--at", "noon"), 2, "'noon' is no time"),
        (("promote", "m", "1.0.0", "--env", "prod"), 2, "no environment 'prod'"),
        (("promote", "m", "1.0.0", "--strategy", "hot"), 2, "'hot'"),
    ],
)
def test_wrong_words_change_nothing(
    shop: Shop, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = shop(*words)
    assert (ran.code, said in ran.err) == (code, True), ran
    assert not list(shop.store().list("environments/"))


def test_waiting_without_a_node_says_that_nobody_carries_it_out(shop: Shop) -> None:
    ran = shop("promote", "m", "1.0.0", "--wait", "--timeout", "1")
    assert ran.code == 5
    assert "no node reports for dev: the change is written, nobody carries it out" in ran.err


def test_keys_are_shown_once_and_stored_hashed(shop: Shop) -> None:
    made = shop.ok("keys", "create", "shop", "--per-minute", "60")
    text = made["key"]
    state = shop.read(STATE)
    assert text.encode() not in state
    assert sha256(text.encode()).hexdigest().encode() in state
    assert shop("keys", "create", "shop").code == 3
    assert shop("keys", "revoke", "shop").code == 3, "the last one"
    shop.ok("keys", "create", "other")
    shop.ok("keys", "revoke", "shop")
    assert [one["name"] for one in shop.ok("keys", "list")] == ["other"]
    shop.ok("keys", "revoke", "other", "--open")
    assert verify_history(shop.store(), "dev").flaws == ()


def test_a_write_whose_answer_was_lost_is_found_to_be_our_own(shop: Shop) -> None:
    change(shop, "1.0.0")

    def of_state(request: Request) -> bool:
        return request.method == "PUT" and request.path.endswith("state.json")

    with FaultyProxy(shop.server.endpoint_url, first(1, Reset(Where.LOST), of_state)) as proxy:
        change(replace(shop, server=replace(shop.server, endpoint_url=proxy.url)), "1.1.0")
    assert verify_history(shop.store(), "dev").entries == 2
    assert verify_history(shop.store(), "dev").flaws == ()


def test_a_reader_that_has_the_newest_state_is_told_so(shop: Shop) -> None:
    change(shop, "1.0.0")
    found = objects(shop).read_state()
    assert found is not None
    with pytest.raises(Unchanged):
        objects(shop).read_state(unless=found.tag)
    change(shop, "1.1.0")
    again = objects(shop).read_state(unless=found.tag)
    assert again is not None
    assert again.state.generation == 2


def test_a_report_is_read_with_its_age_and_a_broken_one_is_passed_over(shop: Shop) -> None:
    report = NodeReport("n1", "dev", 3, "0.1.0", "2026-01-01T00:00:00Z")
    objects(shop).write_report(report)
    shop.overwrite("environments/dev/nodes/n2.json", b"{")
    (found,) = objects(shop).reports()
    assert found.report == report
    assert found.live
    assert 0 <= found.age < 20


def test_an_unsigned_version_is_not_promoted_where_only_signed_ones_are_taken(
    shop: Shop, tmp_path: Path
) -> None:
    settings = tmp_path / "tslc.yaml"
    settings.write_text("environments: {production: {trusted_keys: [release.pub]}}\n")
    shop.cli.ok("keygen", str(tmp_path / "release"))
    done = subprocess.run(
        [sys.executable, "-m", "tslc", "promote", "m", "1.0.0", "--env", "production"],
        env={**os.environ, **shop.env, "TSLC_CONFIG": str(settings)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "is not signed, and production takes signed versions only" in done.stderr
    assert not list(shop.store().list("environments/production"))


def test_without_its_state_an_environment_with_a_history_is_not_begun_anew(shop: Shop) -> None:
    change(shop, "1.0.0")
    change(shop, "1.1.0")
    state = shop.read(STATE)
    shop.store().delete([STATE])
    for words in (("promote", "m", "1.2.0"), ("keys", "create", "k")):
        refused = shop(*words)
        assert refused.code == 3
        assert "its history has 2 generations" in refused.err
        assert "copy history/0000000002.json" in refused.err
    assert shop.store().get(STATE, 1 << 20) is None
    shop.overwrite(STATE, shop.read("environments/dev/history/0000000002.json"))
    assert shop.read(STATE) == state
    assert shop.ok("promote", "m", "1.2.0")["generation"] == 3


def test_a_damaged_state_is_found_by_verify_which_names_the_entry_to_put_back(shop: Shop) -> None:
    change(shop, "1.0.0")
    change(shop, "1.1.0")
    shop.overwrite(STATE, b"{}")
    found = shop("history", "verify")
    assert found.code == 3
    assert "dev/history/0000000002.json to state.json" in found.err


def test_a_version_that_never_came_up_is_not_kept_warm_by_a_rollback(shop: Shop) -> None:
    change(shop, "1.0.0")
    change(shop, "1.1.0")
    seen = {"1.0.0": VersionReport(Phase.READY), "1.1.0": VersionReport(Phase.FAILED)}
    told = {"m": ModelReport(True, seen)}
    objects(shop).write_report(NodeReport("n", "dev", 2, "0", "", models=told))
    shop.ok("rollback", "m")
    state = objects(shop).read_state()
    assert state is not None
    assert state.state.models["m"].versions == ("1.0.0",)
