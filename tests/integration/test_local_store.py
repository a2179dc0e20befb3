"""The store a node carries with it: a real SeaweedFS, started and stopped with the node."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nodes import Cli, eventually, kill
from tslc.adapters import seaweedfs
from tslc.domain.local_store import MARK, StoreEndpoint, sockets
from tslc.domain.node import NodePaths

pytestmark = pytest.mark.integration
LOCAL = {"TSLC_STORE_URL": "local"}
QUICK = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10)


def up(cli: Cli, *options: object) -> Mapping[str, Any]:
    words = ("up", "--free-ports", "--no-router", "--json", *options)
    told: Mapping[str, Any] = cli.ok(*words, env=LOCAL).json
    return told


def paths_of(cli: Cli) -> NodePaths:
    return NodePaths(cli.home / "nodes" / "default")


def client_of(store: StoreEndpoint) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=QUICK,
    )


def server_of(cli: Cli) -> psutil.Process:
    return seaweedfs.processes(paths_of(cli))[-1]


def marked(cli: Cli) -> list[psutil.Process]:
    """Every process with the store's folder in its environment, zombies too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(paths_of(cli).store):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_it_comes_and_goes_with_the_node_and_keeps_what_it_holds(cli: Cli) -> None:
    assert "start SeaweedFS" in cli.ok("up", "--free-ports", "--dry-run", env=LOCAL).out
    told = up(cli)["store"]
    assert told["already_running"] is False
    store = seaweedfs.endpoint(paths_of(cli))
    assert (told["endpoint_url"], told["bucket"]) == (store.endpoint_url, store.bucket)
    client_of(store).put_object(Bucket=store.bucket, Key="kept", Body=b"x" * 9_000_000)
    pid = server_of(cli).pid
    again = up(cli)
    assert again["already_running"]
    assert again["store"]["already_running"]
    assert server_of(cli).pid == pid

    assert "its store is stopped" in cli.ok("down").out
    assert marked(cli) == []
    assert not any(path.exists() for path in sockets(_state(cli).ports))
    assert "was not running" in cli.ok("down").out

    up(cli)
    store = seaweedfs.endpoint(paths_of(cli))
    assert (
        client_of(store).get_object(Bucket=store.bucket, Key="kept")["ContentLength"] == 9_000_000
    )


def _state(cli: Cli) -> Any:
    state = seaweedfs.read_state(paths_of(cli))
    assert state is not None
    return state


def test_only_the_holder_of_its_credential_gets_in(cli: Cli) -> None:
    up(cli)
    paths, state = paths_of(cli), _state(cli)
    store = StoreEndpoint.of(state)
    client_of(store).put_object(Bucket=store.bucket, Key="a", Body=b"content of a")
    # SeaweedFS makes some files anybody may read; nobody else gets into the folder.
    assert paths.store.stat().st_mode & 0o777 == 0o700
    for name in ("store.json", "identities.json", "security.toml", "tls.key"):
        assert (paths.store / name).stat().st_mode & 0o777 == 0o600, name
    secrets = [state.secret_key, state.access_key]
    for process in marked(cli):
        assert not any(secret in " ".join(process.cmdline()) for secret in secrets)
        assert not any(secret in str(process.environ()) for secret in secrets)
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
                assert connection.laddr.port in state.ports.model_dump().values()

    for port in (state.ports.s3, state.ports.volume, state.ports.filer):
        for path in ("/", f"/{store.bucket}/a", f"/buckets/{store.bucket}/a", "/1,0123456789"):
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
            assert answer.status_code in (400, 401, 403, 404), (port, path, answer.status_code)
            assert b"content of a" not in answer.content
    wrong = StoreEndpoint(store.endpoint_url, store.access_key, "another-secret-than-the-right")
    with pytest.raises(ClientError):
        client_of(wrong).list_objects_v2(Bucket=store.bucket)


def test_what_it_acknowledged_outlives_a_kill(cli: Cli) -> None:
    up(cli)
    store = seaweedfs.endpoint(paths_of(cli))
    kept: dict[str, bytes] = {}
    stopped = threading.Event()

    def write(number: int) -> None:
        client = client_of(store)
        for count in range(10_000):
            if stopped.is_set():
                return
            body = os.urandom(200_000)
            try:
                client.put_object(Bucket=store.bucket, Key=f"{number}/{count}", Body=body)
            except (BotoCoreError, ClientError):
                return
            kept[f"{number}/{count}"] = body

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    assert eventually(lambda: len(kept) > 100, 60)
    for process in seaweedfs.processes(paths_of(cli)):
        kill(process.pid)
    stopped.set()
    for writer in writers:
        writer.join()
    up(cli)
    store = seaweedfs.endpoint(paths_of(cli))
    client = client_of(store)
    for key, body in kept.items():
        assert client.get_object(Bucket=store.bucket, Key=key)["Body"].read() == body


@pytest.mark.parametrize("moment", ["server", "state"])
def test_an_up_that_is_killed_leaves_nothing_that_the_next_one_does_not_mend(
    cli: Cli, moment: str
) -> None:
    environment = {**os.environ, "TSLC_HOME": str(cli.home), **LOCAL}
    command = [sys.executable, "-m", "tslc", "up", "--free-ports", "--no-router"]
    process = subprocess.Popen(command, cwd=cli.cwd, env=environment, start_new_session=True)
    if moment == "server":
        assert eventually(lambda: bool(marked(cli)), 30)
    else:
        assert eventually((paths_of(cli).store / "store.json").exists, 30)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    told = up(cli)
    store = seaweedfs.endpoint(paths_of(cli))
    assert told["store"]["endpoint_url"] == store.endpoint_url
    client_of(store).put_object(Bucket=store.bucket, Key="a", Body=b"a")
    servers = {process.pid for process in marked(cli)}
    pid = _state(cli).pid
    assert servers <= {one.pid for one in [psutil.Process(pid), *psutil.Process(pid).children()]}


def test_a_port_that_is_taken_is_replaced_and_nothing_stored_is_lost(cli: Cli) -> None:
    up(cli)
    store = seaweedfs.endpoint(paths_of(cli))
    client_of(store).put_object(Bucket=store.bucket, Key="kept", Body=b"x" * 1000)
    cli.ok("down")
    path = paths_of(cli).store / "store.json"
    remembered = json.loads(path.read_text())
    with socket.socket() as other:
        other.bind(("127.0.0.1", remembered["ports"]["s3"]))
        other.listen(1)
        up(cli)
    moved = seaweedfs.endpoint(paths_of(cli))
    assert moved.endpoint_url != store.endpoint_url
    assert moved.secret_key == store.secret_key
    assert client_of(moved).get_object(Bucket=store.bucket, Key="kept")["ContentLength"] == 1000


def test_it_is_left_out_where_it_is_not_wanted(cli: Cli) -> None:
    assert up(cli, "--no-store")["store"] is None
    assert cli.ok("up", "--no-router", env={"TSLC_STORE_URL": "s3://bucket"}).code == 0
    assert marked(cli) == []
    assert not paths_of(cli).store.exists()


def test_a_node_that_can_not_start_leaves_no_store_behind(cli: Cli, tmp_path: Path) -> None:
    failed = cli("up", "--free-ports", "--no-router", "--heap", "9999999g", env=LOCAL)
    assert failed.code == 5, failed.err
    assert marked(cli) == []
