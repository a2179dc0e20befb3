"""Scratch folders: gone afterwards, and after a kill with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tslc.adapters.scratch import scratch_folder

HOLD = """
import sys
from pathlib import Path
from tslc.adapters.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), ".m.") as folder:
    (folder / "content").write_text("x")
    print("there", flush=True)
    sys.stdin.read()
"""


def held(parent: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def age(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    living, killed = held(tmp_path), held(tmp_path)
    try:
        assert len(list(tmp_path.iterdir())) == 2
        killed.kill()
        killed.communicate()
        for folder in tmp_path.iterdir():
            age(folder)
        with scratch_folder(tmp_path, ".m.") as mine:
            others = [folder for folder in tmp_path.iterdir() if folder != mine]
            assert len(others) == 1
            assert (others[0] / "content").exists()
    finally:
        living.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_young_one_stays_that_may_be_about_to_be_locked(tmp_path: Path) -> None:
    (tmp_path / ".m.young").mkdir()
    (tmp_path / ".m.old").mkdir()
    age(tmp_path / ".m.old")
    with scratch_folder(tmp_path, ".m."):
        assert (tmp_path / ".m.young").exists()
        assert not (tmp_path / ".m.old").exists()
