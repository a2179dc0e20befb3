"""How the local store's SeaweedFS is run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tslc.domain.local_store import (
    MARK,
    StoreEndpoint,
    StorePaths,
    StorePorts,
    StoreState,
    render_identities,
    render_security,
    server_command,
    server_environment,
    sockets,
)
from tslc.errors import BadFile

PORTS = StorePorts(
    s3=1, s3_grpc=2, master=3, master_grpc=4, volume=5, volume_grpc=6, filer=7, filer_grpc=8
)
STATE = StoreState(ports=PORTS, access_key="an-access-key", secret_key="a-very-secret-key-indeed")
PATHS = StorePaths(Path("/node/store"))


def test_no_secret_is_on_the_command_line_nor_in_a_repr() -> None:
    command = server_command(Path("/bin/weed"), STATE, PATHS)
    for text in (" ".join(command), repr(STATE), repr(StoreEndpoint.of(STATE))):
        assert STATE.secret_key not in text
    assert f"-s3.config={PATHS.identities}" in command


def test_every_port_is_told_so_that_none_is_torchserves() -> None:
    command = server_command(Path("weed"), STATE, PATHS)
    told = sorted(part.rpartition("=")[2] for part in command if "port" in part)
    assert told == ["0", "0", "1", "2", "3", "4", "5", "6", "7", "8"]
    assert "-ip.bind=127.0.0.1" in command


def test_nothing_of_the_environment_becomes_a_setting_or_an_account() -> None:
    env = {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "AWS_ACCESS_KEY_ID": "x",
        "WEED_JWT_SIGNING_KEY": "y",
    }
    made = server_environment(env, PATHS)
    assert (made["PATH"], made["HOME"], made[MARK]) == ("/bin", "/node/store", "/node/store")
    assert not any(name.startswith(("AWS_", "WEED_")) for name in made)


def test_the_gateway_has_one_account_and_every_part_asks_for_a_certificate() -> None:
    (account,) = json.loads(render_identities(STATE))["identities"]
    assert account["credentials"] == [
        {"accessKey": STATE.access_key, "secretKey": STATE.secret_key}
    ]
    made = tomllib.loads(render_security(PATHS, ("a", "b", "c", "d")))
    assert made["jwt"]["signing"] == {"key": "a", "read": {"key": "b"}}
    assert made["jwt"]["filer_signing"] == {"key": "c", "read": {"key": "d"}}
    for part in ("master", "volume", "filer", "s3", "client"):
        assert made["grpc"][part] == {"cert": "/node/store/tls.pem", "key": "/node/store/tls.key"}


def test_a_state_is_read_as_it_is_written_and_a_broken_one_is_not_quoted() -> None:
    assert StoreState.parse(STATE.render(), "store.json") == STATE
    broken = STATE.render().replace('"s3": 1', '"s3": "a-very-secret-key-indeed"')
    with pytest.raises(BadFile) as caught:
        StoreState.parse(broken, "store.json")
    assert STATE.secret_key not in str(caught.value)
    with pytest.raises(BadFile):
        StoreState.parse("{", "store.json")


def test_the_sockets_it_makes_are_known_by_its_ports() -> None:
    names = {path.name for path in sockets(PORTS)}
    assert names == {
        "seaweedfs-master-grpc-4.sock",
        "seaweedfs-volume-grpc-6.sock",
        "seaweedfs-filer-grpc-8.sock",
        "seaweedfs-s3-grpc-2.sock",
        "seaweedfs-filer-7.sock",
        "seaweedfs-s3-1.sock",
    }
