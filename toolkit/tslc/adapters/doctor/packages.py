"""Which distributions are installed and what they were built for; none of them is imported."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path

from tslc.domain.doctor.packages import SEAM, WATCHED, Installed, PackageFacts

# Torch writes `cuda: Optional[str] = '12.8'` into its version.py, torchvision `cuda = '12.8'`.
_CUDA = re.compile(r"^cuda\s*(?::[^=\n]*)?=\s*(?:None|'([0-9.]+)')", re.MULTILINE)
_HIP = re.compile(r"^hip\s*(?::[^=\n]*)?=\s*'", re.MULTILINE)
_TAG = re.compile(r"\+cu(\d+)(\d)$")
_UNKNOWN = "?"


def package_facts() -> PackageFacts:
    installed = {}
    for name in WATCHED:
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        installed[name] = _installed(name, found)
    return PackageFacts(installed, _missing_seam())


def _installed(name: str, found: metadata.Distribution) -> Installed:
    version = found.version
    if not name.startswith("torch") or name == "torchserve":
        return Installed(version)
    try:
        text = Path(str(found.locate_file(f"{name}/version.py"))).read_text("utf-8")
    except OSError:
        text = ""
    if _HIP.search(text) or "+rocm" in version:
        return Installed(version, rocm=True)
    if match := _CUDA.search(text):
        return Installed(version, match[1])
    return Installed(version, _cuda_of(version))


def _cuda_of(version: str) -> str | None:
    """By the version's tag; without one it is what package indexes have: for Linux, CUDA builds."""
    if match := _TAG.search(version):
        return f"{match[1]}.{match[2]}"
    untagged = "+" not in version and sys.platform == "linux"
    return _UNKNOWN if untagged else None


def _missing_seam() -> tuple[str, ...]:
    """None missing where there is no vLLM at all."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(next(iter(spec.submodule_search_locations)))
    return tuple(path for path in SEAM if not (folder / path).is_file())
