"""Containers without a Docker engine, as docker/try-image has them: of an image that is a shell."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("buildah"), reason="needs root, and buildah"
    ),
]

PROGRAMS = ("/bin/sh", "/bin/sleep", "/bin/touch")
DOCKERFILE = """
FROM scratch
COPY root /
WORKDIR /data
VOLUME /data
HEALTHCHECK CMD ["/bin/sh", "-c", "test -e /data/well && echo well"]
ENTRYPOINT ["/bin/sh", "/server"]
"""
# Is well after a second; may end with an error, or leave a process behind. buildah may lose what is
# said in a process's last moment.
SERVER = """
trap 'exit 0' TERM
case "$1" in
  fail) echo "cannot $2"; sleep 0.5; exit 3 ;;
  leave) sleep 60 & ;;
esac
sleep 1
touch /data/well /changed
while :; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module, with a place of its own for what it keeps."""
    source = Path(__file__).parents[2] / "docker" / "containers.py"
    spec = importlib.util.spec_from_file_location("docker_containers", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORK", str(tmp_path_factory.mktemp("images")))
        spec.loader.exec_module(module)
    (module.WORK / "tmp").mkdir()
    yield module
    shutil.rmtree(module.WORK)


@pytest.fixture(scope="module")
def image(containers: ModuleType) -> str:
    context = containers.WORK / "context"
    for program in PROGRAMS:
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for path in (program, *(one for one in linked.stdout.split() if one.startswith("/"))):
            there = context / "root" / path.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)
    (context / "root" / "server").write_text(SERVER)
    (context / "Dockerfile").write_text(DOCKERFILE)
    containers.said("build", "--format", "docker", "--tag", "localhost/shell", context)
    return "localhost/shell"


@pytest.fixture
def container(containers: ModuleType, image: str) -> Iterator[Any]:
    shutil.rmtree(containers.DATA, ignore_errors=True)
    containers.DATA.mkdir()
    made = containers.Container(image)
    yield made
    made.remove()


def test_it_gets_well_is_told_to_stop_and_what_it_changed_is_seen(
    containers: ModuleType, container: Any
) -> None:
    running = container.start()
    container.wait_well(60)
    # The folder of the host is in it, though the image declares a volume there.
    assert (containers.DATA / "well").exists()
    assert len(container.pids()) >= 2
    container.stop(running)
    assert container.written() == ["changed"]


def test_a_process_that_it_leaves_behind_is_an_error(container: Any) -> None:
    running = container.start("leave")
    container.wait_well(60)
    with pytest.raises(SystemExit, match="left"):
        container.stop(running)
    assert len(container.pids()) == 1


def test_what_does_not_get_well_is_an_error(container: Any) -> None:
    with pytest.raises(SystemExit, match="not healthy"):
        container.wait_well(0)


def test_a_command_ends_with_the_code_that_is_wanted(
    container: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    container.run("fail", "so", code=3)
    assert "cannot so" in capfd.readouterr().out
    with pytest.raises(SystemExit, match="ended with 3, not 0"):
        container.run("fail", "so")
