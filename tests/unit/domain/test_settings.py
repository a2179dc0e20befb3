"""The settings: who wins, where a value comes from, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tslc.domain.settings import (
    FLAGS,
    VARIABLES,
    BucketUrl,
    EncryptionType,
    LocalStore,
    ResolvedSettings,
    resolve,
)
from tslc.domain.settings_values import WrongValue, read_store_url
from tslc.errors import BadFile, BadInput

FILE = Path("/project/tslc.yaml")
HOME = {"HOME": "/home/ann"}
FULL = """\
store:
  url: s3://models-eu/team/a
  endpoint_url: http://127.0.0.1:9000
  region: eu-central-1
  encryption: {type: SSE-KMS, key_id: alias/models}
cache: {path: ~/cache, max_size: 3GiB}
environments:
  production: {trusted_keys: [keys/release.pub], allow_unsigned: false}
  dev: {allow_unsigned: true}
default_environment: production
"""


def settings_of(
    text: str | None = None,
    env: dict[str, str] | None = None,
    flags: dict[str, str | None] | None = None,
) -> ResolvedSettings:
    return resolve(text, FILE, HOME | (env or {}), flags or {})


def mistakes_of(
    text: str | None = None,
    env: dict[str, str] | None = None,
    flags: dict[str, str | None] | None = None,
) -> list[str]:
    with pytest.raises(BadFile) as caught:
        settings_of(text, env, flags)
    return [f"{one.where}: {one.problem} -> {one.fix}" for one in caught.value.mistakes]


def test_without_anything_the_store_is_local_and_nobody_is_trusted() -> None:
    found = settings_of()
    assert found.settings.store.url == LocalStore()
    assert found.settings.cache.path == Path("/home/ann/.cache/tslc/store")
    assert found.settings.cache.max_size == 200 * 1024**3
    assert found.settings.default_environment == "dev"
    rules = found.settings.environment()
    assert (rules.name, rules.trusted_keys, rules.allow_unsigned) == ("dev", (), True)
    assert found.file is None
    assert {str(one.origin) for one in found.sources.values()} == {"default"}


def test_a_whole_file_is_read_with_the_line_of_each_value() -> None:
    found = settings_of(FULL)
    store = found.settings.store
    assert store.url == BucketUrl("models-eu", "team/a")
    assert store.endpoint_url == "http://127.0.0.1:9000"
    assert store.encryption.type is EncryptionType.SSE_KMS
    assert store.encryption.key_id == "alias/models"
    assert found.settings.cache.path == Path("/home/ann/cache")
    assert found.settings.cache.max_size == 3 * 1024**3
    production = found.settings.environment()
    assert production.trusted_keys == (Path("/project/keys/release.pub"),)
    assert not production.allow_unsigned
    assert str(found.sources["store.region"].origin) == "/project/tslc.yaml:4"
    assert str(found.sources["environments.production.trusted_keys"].origin) == f"{FILE}:8"


@pytest.mark.parametrize("text", ["", "\n# only a remark\n", "---\n", "store:\n", "cache: {}\n"])
def test_a_file_that_says_nothing_changes_nothing(text: str) -> None:
    assert settings_of(text).settings == settings_of().settings


_WORDS = {
    "store.url": ["s3://from-file", "s3://from-variable/x", "local"],
    "store.endpoint_url": ["http://a:1", "https://b", None],
    "store.region": ["eu-central-1", "us-east-1", None],
    "cache.max_size": ["1GiB", "2GiB", "3"],
    "default_environment": ["dev", "test", "live"],
}


@given(
    st.fixed_dictionaries({key: st.lists(st.booleans(), min_size=3, max_size=3) for key in _WORDS})
)
def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(
    said: dict[str, list[bool]],
) -> None:
    # The bucket's settings need a bucket below them.
    said = {**said, "store.url": [True, *said["store.url"][1:2], False]}
    lines: dict[str, dict[str, str]] = {}
    env: dict[str, str] = {}
    flags: dict[str, str | None] = {}
    for key, (in_file, in_env, in_flag) in said.items():
        section, _, name = key.rpartition(".")
        first, second, third = _WORDS[key]
        if in_file and first:
            lines.setdefault(section, {})[name] = first
        if in_env and second:
            env[VARIABLES[key]] = second
        if in_flag and third:
            flags[key] = third
    text = "".join(
        f"{section}: {{{', '.join(f'{k}: {v!r}' for k, v in keys.items())}}}\n"
        if section
        else "".join(f"{k}: {v}\n" for k, v in keys.items())
        for section, keys in lines.items()
    )
    text += "environments: {test: {allow_unsigned: true}, live: {allow_unsigned: true}}\n"
    sources = settings_of(text, env, flags).sources
    for key in said:
        expected = "default"
        if lines.get(key.rpartition(".")[0], {}).get(key.rpartition(".")[2]):
            expected = str(FILE)
        if VARIABLES[key] in env:
            expected = VARIABLES[key]
        if key in flags:
            expected = FLAGS[key]
        assert str(sources[key].origin).partition(":")[0] == expected


def test_an_empty_variable_says_nothing() -> None:
    assert settings_of(FULL, {"TSLC_STORE_REGION": ""}).settings.store.region == "eu-central-1"


def test_every_mistake_of_file_variables_and_flags_is_reported_at_once() -> None:
    text = """\
store:
  urll: s3://x
  encryption: {type: SSE-KSM}
cache: {max_size: lots}
enviroments: {}
cache: {path: 3}
"""
    env = {"TSLC_STORE_REGOIN": "x", "TSLC_STORE_ENDPOINT_URL": "ftp://x"}
    found = "\n".join(mistakes_of(text, env, {"default_environment": "a/b"}))
    for expected in (
        "tslc.yaml:2 store.urll: unknown key 'urll' -> write 'url'",
        "tslc.yaml:3 store.encryption.type: 'SSE-KSM' is no encryption of S3's -> write SSE-KMS",
        "tslc.yaml:5 enviroments: unknown key 'enviroments' -> write 'environments'",
        "tslc.yaml:6 cache: the key stands twice",
        "tslc.yaml:6 cache.path: 3 is not a text",
        "unknown key 'TSLC_STORE_REGOIN' -> write 'TSLC_STORE_REGION'",
        "TSLC_STORE_ENDPOINT_URL: 'ftp://x' is not the address of a server",
        "--environment: not a name",
    ):
        assert expected in found


def test_a_broken_value_is_a_mistake_even_where_a_flag_overrides_it() -> None:
    assert mistakes_of("cache: {max_size: lots}", flags={"cache.max_size": "1GiB"})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("store: {aws_secret_access_key: wJalrXUtnFEMI}", "wJalrXUtnFEMI"),
        ("store: {url: local}\npassword: hunter2", "hunter2"),
        ("store: {region: AKIAIOSFODNN7EXAMPLE}", "AKIAIOSFODNN7EXAMPLE"),
        ("store: {url: s3://b-b-b, endpoint_url: 'https://me:hunter2@host'}", "hunter2"),
        ("store: {url: {secret: hunter2}}", "hunter2"),
    ],
)
def test_credentials_in_the_file_are_refused_and_never_printed(text: str, secret: str) -> None:
    found = "\n".join(mistakes_of(text))
    assert secret not in found
    assert "boto3" in found or "a mapping is not a text" in found


def test_an_environment_without_rules_is_a_mistake_since_nothing_could_be_used() -> None:
    (found,) = mistakes_of("environments:\n  production: {}\n")
    assert f"{FILE}:2 environments.production" in found
    assert "allow_unsigned: true" in found


def test_an_environment_that_is_not_listed_is_an_error_and_not_one_that_trusts_anything() -> None:
    text = "environments:\n  production: {trusted_keys: [a.pub]}\n"
    for name in ("prodction", "Production", "prod", "live"):
        (found,) = mistakes_of(text, flags={"default_environment": name})
        assert "production" in found
        with pytest.raises(BadInput, match=name):
            settings_of(text).settings.environment(name)
    assert "write 'production'" in mistakes_of(text, flags={"default_environment": "prodction"})[0]
    assert settings_of(text).settings.environment().allow_unsigned
    (found,) = mistakes_of("", {"TSLC_DEFAULT_ENVIRONMENT": "production"})
    assert "no tslc.yaml lists any" in found


def test_trust_can_not_be_changed_by_a_variable() -> None:
    env = {"TSLC_ENVIRONMENTS_PRODUCTION_ALLOW_UNSIGNED": "true"}
    assert "TSLC_ENVIRONMENTS_PRODUCTION_ALLOW_UNSIGNED" in mistakes_of(FULL, env)[0]


def test_an_allow_unsigned_that_is_no_boolean_is_no_permission() -> None:
    text = "environments:\n  production: {trusted_keys: [a.pub], allow_unsigned: 'true'}\n"
    assert "neither true nor false" in mistakes_of(text)[0]


def test_the_local_store_takes_no_settings_of_a_bucket() -> None:
    assert "name the bucket as well" in mistakes_of("store: {region: eu-central-1}")[0]


def test_a_later_local_drops_what_belongs_to_the_bucket_below_it() -> None:
    store = settings_of(FULL, flags={"store.url": "local"}).settings.store
    assert (store.url, store.endpoint_url, store.region) == (LocalStore(), None, None)
    assert store.encryption.type is EncryptionType.NONE


def test_a_key_goes_with_sse_kms_alone() -> None:
    text = "store: {url: s3://abc, encryption: {type: SSE-S3, key_id: k}}"
    assert "type: SSE-KMS" in mistakes_of(text)[0]
    flags: dict[str, str | None] = {"store.encryption.type": "SSE-S3"}
    assert settings_of(FULL, flags=flags).settings.store.encryption.key_id is None


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3://a", "s3://Bucket", "s3://10.0.0.1", "s3://abc/../x", "http://abc", "Local", ""],
)
def test_what_is_no_store_is_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        read_store_url(text)


@given(st.from_regex(r"[a-z0-9]{3,20}(/[a-z0-9_-]{1,9}){0,3}", fullmatch=True))
def test_a_store_is_written_as_it_is_read(rest: str) -> None:
    url = read_store_url(f"s3://{rest}")
    assert str(url) == f"s3://{rest}"
    assert read_store_url(str(url)) == url


_KEYS = st.sampled_from(
    [
        *("store", "url", "region", "encryption", "type", "cache", "max_size", "path"),
        *("environments", "dev", "trusted_keys", "allow_unsigned", "default_environment"),
        "secret_key",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_KEYS, below, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(_KEYS, _VALUES, max_size=4).map(repr) | st.text(),
    st.dictionaries(st.sampled_from(sorted(VARIABLES.values())), st.text(max_size=30)),
    st.dictionaries(st.sampled_from(sorted(FLAGS)), st.none() | st.text(max_size=30)),
)
@example("cache: {max_size: 0x" + "f" * 5000 + "}", {}, {})
@example("store: &a {url: *a}", {}, {})
@example("", {"TSLC_CACHE_MAX_SIZE": "9" * 400}, {"store.endpoint_url": "http://[::"})
def test_nothing_but_badfile_is_ever_raised(
    text: str, env: dict[str, str], flags: dict[str, str | None]
) -> None:
    try:
        found = resolve(text, FILE, env, flags)
    except BadFile as error:
        assert error.mistakes
    else:
        assert set(FLAGS) <= set(found.sources)
