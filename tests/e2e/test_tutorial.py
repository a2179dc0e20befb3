"""docs/tutorial.md, followed word by word: its commands, its files, and the answers it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nodes
from console import Shell, follow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
MODELS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tslc" / "models"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home without anything but the demo model; nothing runs in it afterwards."""
    with nodes.short_folder() as folder:
        (folder / ".cache" / "tslc").mkdir(parents=True)
        (folder / ".cache" / "tslc" / "models").symlink_to(MODELS)
        try:
            yield folder
        finally:
            down = [sys.executable, "-m", "tslc", "down"]
            subprocess.run(down, env=newcomer(folder), check=True, capture_output=True)


def newcomer(home: Path) -> dict[str, str]:
    """Somebody who has set nothing."""
    ours = ("TSLC_", "AWS_", "XDG_", "MAKE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(home)}


@pytest.mark.timeout(900)
def test_the_tutorial_does_what_it_says(home: Path) -> None:
    ready = subprocess.run(["make", "-q", ".venv/.ready"], cwd=ROOT, check=False)
    # Its `make setup` is to find everything there: a test must not install.
    assert ready.returncode == 0, "make setup first"
    with Shell(ROOT, newcomer(home)) as shell:
        assert follow(PAGE, shell, home / "release", 300) > 20
