"""Texts to vectors, with a sentence-embedding model in ONNX on the CPU.

The model takes `input_ids`, `attention_mask` and, if it has it, `token_type_ids`, and gives
`last_hidden_state` [batch, sequence, dimensions]; the vector is the mean over the tokens, scaled to
length 1 (how all-MiniLM-L6-v2 and its kin are meant to be used).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
MAX_TOKENS = 256
"""What is longer is cut: the model was trained on no longer texts."""
_MAX_CHARACTERS = 16 * 1024  # more than so many tokens hold; a text of megabytes would take seconds


class Embedder:
    """`folder` holds model.onnx and tokenizer.json. One thread, so that vectors don't depend on
    how many there are. Raises ValueError for files that are no such model."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it would write of a broken file, it raises too
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # both packages raise Exception itself
            said = " ".join(str(error).split())
            raise ValueError(f"no embedding model in {folder}: {said}") from error
        self._inputs = {one.name for one in self._session.get_inputs()}
        shape = self._session.get_outputs()[0].shape
        if "input_ids" not in self._inputs or len(shape) != 3 or not isinstance(shape[-1], int):
            raise ValueError(f"no sentence-embedding model in {folder}: it gives {shape}")
        self.dimensions = shape[-1]
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, text: str) -> np.ndarray:
        """float32 [dimensions], of length 1."""
        import numpy as np

        encoded = self._tokenizer.encode(text[:_MAX_CHARACTERS])
        ids = np.asarray([encoded.ids], dtype=np.int64)
        mask = np.ones_like(ids)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {k: v for k, v in given.items() if k in self._inputs})[0]
        vector = hidden[0].mean(axis=0)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)

    def embed_all(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dimensions]. One by one: a text's vector never depends on its company."""
        import numpy as np

        rows = [self.embed(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), dtype=np.float32)
