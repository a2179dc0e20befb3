"""A real S3 server for tests: SeaweedFS on loopback, a bucket of its own for each test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tslc.adapters.loopback_ports import pick_free

ACCESS_KEY = "tslc-tests"
SECRET_KEY = "not-a-secret-of-anyone"
# Of one who may read and list, in every bucket.
READER_KEY = "tslc-tests-reader"
REGION = "us-east-1"
_IDENTITIES = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Read", "List"],
        },
    ]
}
_buckets = count()


@dataclass(frozen=True)
class S3Server:
    """A running server. `environment` is what boto3 needs to find it."""

    endpoint_url: str
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(retries={"mode": "standard", "max_attempts": 5}, proxies={}),
        )

    def new_bucket(self) -> str:
        name = f"bucket-{next(_buckets)}"
        self.client().create_bucket(Bucket=name)
        return name


@contextmanager
def weed() -> Iterator[S3Server]:
    """SeaweedFS in a folder of its own, both gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="weed-", dir="/tmp"))
    (folder / "data").mkdir()
    (folder / "identities.json").write_text(json.dumps(_IDENTITIES))
    ports = pick_free(8)
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.peers=none",
        "-master.volumeSizeLimitMB=1024",
        # Each bucket takes seven of them.
        "-volume.max=10000",
        f"-master.port={ports[0]}",
        f"-master.port.grpc={ports[1]}",
        f"-volume.port={ports[2]}",
        f"-volume.port.grpc={ports[3]}",
        f"-filer.port={ports[4]}",
        f"-filer.port.grpc={ports[5]}",
        "-s3",
        f"-s3.port={ports[6]}",
        f"-s3.port.grpc={ports[7]}",
        f"-s3.config={folder / 'identities.json'}",
        "-s3.iam=false",
        # Their ports are fixed ones.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    server = S3Server(f"http://127.0.0.1:{ports[6]}", folder)
    try:
        _wait(server, process)
        yield server
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: S3Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            bucket = server.new_bucket()
            server.client().put_object(Bucket=bucket, Key="ready", Body=b"yes")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((server.folder / "log").read_text()[-4000:]) from None
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The `weed` on PATH is a wrapper: the server is its child."""
    try:
        parent = psutil.Process(process.pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=10)
