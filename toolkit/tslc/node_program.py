"""`python -m tslc.node_program FILE`: what supervisord runs for a program of a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tslc.adapters.program_start import become

if __name__ == "__main__":
    become(Path(sys.argv[1]), os.environ)
