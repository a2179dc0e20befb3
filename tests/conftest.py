"""What holds for all tests, and which go to one process of `pytest -n`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command they
# start inherits that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start `tslc` more than a thousand times: it is compiled once, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Unit tests one by one to whichever process is free; the others as `_scope` says.

    Not `--dist loadgroup`: xdist 3.8 writes groups into node ids where pytest 9.2 doesn't look for
    them, and then it groups nothing and says nothing (pytest-xdist, issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    # The real model's tests, which take longest, stay the first to begin; the units fill gaps.
    config.option.loadscopereorder = False

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Scheduling(config, log)


def _scope(nodeid: str) -> str:
    """What shares something expensive (a store, a node, a loaded model) goes to one process: making
    it twice costs more than dividing saves, and two vLLMs are all of the machine."""
    if nodeid.startswith("tests/e2e/"):
        return "tests/e2e/"
    shares = nodeid.startswith(("tests/integration/", "tests/unit/images/"))
    return nodeid.split("::")[0] if shares else nodeid
