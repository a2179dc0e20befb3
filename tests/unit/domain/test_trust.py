"""Which signature is good enough for which environment: every reason has its own message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.settings import EnvironmentSettings
from tslc.domain.trust import Broken, Signature, Version, judge
from tslc.errors import Refused

A, B = "a" * 64, "b" * 64
FILES = {"archive/x": A, "weights/w": B}
VERSION = Version("bot", "1.0.0", FILES, named_inside=True)
RELEASE = Path("keys/release.pub")
GOOD = Signature("c" * 64, "bot-1.0.0", FILES, RELEASE)
STRANGE = Signature("d" * 64, "bot-1.0.0", FILES, None)
PRODUCTION = EnvironmentSettings("production", (RELEASE,), allow_unsigned=False)
DEV = EnvironmentSettings("dev")
MIXED = EnvironmentSettings("staging", (RELEASE,), allow_unsigned=True)


def refusal(
    environment: EnvironmentSettings,
    signature: Signature | Broken | None,
    version: Version = VERSION,
) -> str:
    with pytest.raises(Refused) as caught:
        judge(environment, version, signature)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value.message


def test_a_trusted_signature_is_good_everywhere() -> None:
    for environment in (PRODUCTION, DEV, MIXED):
        assert "signed by release.pub" in judge(environment, VERSION, GOOD)


def test_unsigned_is_good_only_where_the_environment_says_so() -> None:
    assert "unsigned" in judge(DEV, VERSION, None)
    assert "unsigned" in judge(MIXED, VERSION, None)
    assert "is not signed, and production takes signed versions only" in refusal(PRODUCTION, None)


def test_a_strangers_signature_is_refused_where_keys_are_named() -> None:
    for environment in (PRODUCTION, MIXED):
        assert "does not trust" in refusal(environment, STRANGE)
    assert "nobody here vouches for" in judge(DEV, VERSION, STRANGE)


def test_a_broken_signature_is_refused_even_where_none_is_needed() -> None:
    for environment in (PRODUCTION, DEV, MIXED):
        assert "is broken: not JSON" in refusal(environment, Broken("not JSON"))


def test_a_signature_of_other_content_is_refused_even_where_none_is_needed() -> None:
    for changed in ({**FILES, "archive/x": B}, {"archive/x": A}, {**FILES, "archive/y": A}):
        for key in (RELEASE, None):
            other = Signature("c" * 64, "bot-1.0.0", changed, key)
            for environment in (PRODUCTION, DEV, MIXED):
                assert "over other content: " in refusal(environment, other)


def test_a_foreign_archive_can_not_wear_the_signature_of_another_version() -> None:
    foreign = Version("bot", "2.0.0", FILES, named_inside=False)
    assert "is that of 'bot-1.0.0'" in refusal(PRODUCTION, GOOD, foreign)
    renamed = Version("bot", "2.0.0", FILES, named_inside=True)
    assert judge(PRODUCTION, renamed, GOOD)


def test_the_messages_differ() -> None:
    other = Signature("c" * 64, "bot-1.0.0", {}, RELEASE)
    messages = [refusal(PRODUCTION, one) for one in (None, STRANGE, Broken("x"), other)]
    assert len(set(messages)) == 4


_digests = st.sampled_from([A, B])
_files = st.dictionaries(st.sampled_from(["archive/x", "archive/y", "weights/w"]), _digests)


@given(_files, _files, st.booleans(), st.booleans())
def test_only_a_trusted_key_over_the_very_files_opens_a_closed_environment(
    ours: dict[str, str], signed: dict[str, str], trusted: bool, inside: bool
) -> None:
    version = Version("bot", "1.0.0", ours, inside)
    signature = Signature("c" * 64, "bot-1.0.0", signed, RELEASE if trusted else None)
    try:
        judge(PRODUCTION, version, signature)
    except Refused:
        assert not trusted or signed != ours
    else:
        assert trusted and signed == ours
