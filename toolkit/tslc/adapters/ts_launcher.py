"""TorchServe's own LLM launcher, as far as it works: the model config it makes.

It runs in a process of its own, since it imports torch (for the number of GPUs torch sees). Of
ts.launcher nothing is used; docs/llm_launcher.md says why.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping

from tslc.errors import BadInput, RemoteFailed

_SECONDS = 120.0
_SCRIPT = """\
import json, sys
from argparse import Namespace
from ts.llm_launcher import get_model_config
flags = json.loads(sys.argv[1])
print(json.dumps(get_model_config(Namespace(**flags))))
"""


def launcher_config(model: str, startup_timeout: int) -> Mapping[str, object]:
    """The model config ts.llm_launcher would write, with the defaults of its other flags.

    `parallelLevel` in it is the number of GPUs that torch sees, 0 on a CPU. Raises BadInput where
    TorchServe or torch is not installed, RemoteFailed when they fail.
    """
    for package in ("ts", "torch", "model_archiver"):
        if importlib.util.find_spec(package) is None:
            hint = "pip install 'tslc[cpu]'   # or 'tslc[gpu]'"
            raise BadInput(f"the Python package {package} is not installed here", hint=hint)
    flags = {
        "engine": "vllm",
        "model_id": model,
        "startup_timeout": startup_timeout,
        "vllm_engine.max_num_seqs": 256,
        "vllm_engine.max_model_len": None,
        "vllm_engine.download_dir": None,
    }
    command = [sys.executable, "-c", _SCRIPT, json.dumps(flags)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RemoteFailed(f"ts.llm_launcher did not run: {error}") from None
    try:
        config = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        hint = "python -m ts.llm_launcher --help   # does it start at all?"
        raise RemoteFailed(f"ts.llm_launcher made no model config: {last}", hint=hint) from None
    return config if isinstance(config, dict) else {}
