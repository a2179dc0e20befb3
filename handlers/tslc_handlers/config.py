"""The `handler:` section of a model config, checked whole before anything is loaded.

What vLLM's engine arguments are is asked of the vLLM installed (engine.py); here stand the keys
that are the handler's own. All mistakes are raised together.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tslc_handlers.endpoints import DEFAULT, KNOWN

MANIFEST = "tslc-manifest.json"


class ConfigError(Exception):
    """The model config can't be served; the message lists every mistake and its fix."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("model config: " + "; ".join(self.mistakes))


@dataclass(frozen=True)
class HandlerConfig:
    """`handler:` with its defaults. Field names are the keys of the file."""

    vllm_engine_config: Mapping[str, Any] = field(default_factory=dict)
    model_path: str | None = None
    served_model_name: tuple[str, ...] = ()
    system_prompt: str | None = None
    chat_template: str | None = None
    chat_template_content_format: str = "auto"
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    response_role: str = "assistant"
    endpoints: tuple[str, ...] = DEFAULT
    environment: Mapping[str, str] = field(default_factory=dict)
    max_body_bytes: int = 32 * 1024 * 1024
    ready_timeout_seconds: float = 10.0
    log_level: str = "warning"
    rag: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)

    def served_names(self) -> tuple[str, ...]:
        """The names clients ask for: the handler's, or those of the engine's own argument."""
        named = self.vllm_engine_config.get("served_model_name") or ()
        return self.served_model_name or ((named,) if isinstance(named, str) else tuple(named))

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> HandlerConfig:
        mistakes = [*_unknown(section, [f.name for f in fields(cls)]), *_wrong_types(section)]
        for path in section.get("endpoints") or ():
            if path not in KNOWN:
                mistakes.append(f"endpoints: {path!r} is not an endpoint{nearest(path, KNOWN)}")
        if mistakes:
            raise ConfigError(mistakes)
        values = {key: value for key, value in section.items() if value is not None}
        for name in ("served_model_name", "endpoints"):
            if name in values:
                one = values[name]
                values[name] = (one,) if isinstance(one, str) else tuple(one)
        return cls(**values)


_TYPES: dict[str, tuple[type, ...]] = {
    "vllm_engine_config": (dict,),
    "model_path": (str,),
    "served_model_name": (str, list),
    "system_prompt": (str,),
    "chat_template": (str,),
    "chat_template_content_format": (str,),
    "default_chat_template_kwargs": (dict,),
    "adapters": (dict,),
    "tool_call_parser": (str,),
    "reasoning_parser": (str,),
    "response_role": (str,),
    "endpoints": (list,),
    "environment": (dict,),
    "max_body_bytes": (int,),
    "ready_timeout_seconds": (int, float),
    "log_level": (str,),
    "rag": (dict,),
    "guard": (dict,),
}


def nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _unknown(section: Mapping[str, Any], known: list[str]) -> list[str]:
    return [
        f"handler.{key} is not a known key{nearest(key, known)}"
        for key in section
        if key not in known
    ]


def _wrong_types(section: Mapping[str, Any]) -> list[str]:
    mistakes: list[str] = []
    value: Any
    for key, value in section.items():
        expected = _TYPES.get(key)
        if expected is None or value is None:
            continue
        if isinstance(value, bool) or not any(isinstance(value, kind) for kind in expected):
            names = " or ".join(t.__name__ for t in expected)
            mistakes.append(f"handler.{key} must be {names}, not {type(value).__name__}")
        elif key == "environment":
            mistakes += [
                f'handler.environment.{name} must be a string: write {name}: "{item}"'
                for name, item in value.items()
                if not isinstance(item, str)
            ]
    return mistakes


def find_model(model_dir: Path, config: HandlerConfig, environ: Mapping[str, str]) -> str:
    """The folder (or hub name) vLLM loads.

    The archive's manifest names its weights by digest; they lie below $TSLC_WEIGHTS_DIR. An archive
    without a manifest may name them as TorchServe's stock handler did (`model` or `model_path`).

    Raises ConfigError when the weights are not there or not those of the manifest.
    """
    manifest = model_dir / MANIFEST
    weights = json.loads(manifest.read_text())["weights"] if manifest.exists() else None
    if weights is not None:
        return str(_weights_folder(weights, environ))
    named = config.vllm_engine_config.get("model") or config.model_path
    if not named:
        raise ConfigError(
            ["no weights: the archive's manifest names none, and neither does handler.model_path"]
        )
    inside = model_dir / named
    return str(inside if inside.exists() else named)


def _weights_folder(weights: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    root = environ.get("TSLC_WEIGHTS_DIR")
    if not root:
        raise ConfigError(
            ["TSLC_WEIGHTS_DIR is not set, so the weights can't be found; register with tslc"]
        )
    folder = Path(root) / str(weights["digest"]).removeprefix("sha256:")
    wrong = []
    for name, entry in weights["files"].items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != entry["size"]:
            found = "is missing" if size is None else f"has {size} bytes"
            wrong.append(f"weights: {file} {found}; the manifest says {entry['size']} bytes")
    if wrong:
        raise ConfigError(wrong)
    return folder


def worker_environment(config: HandlerConfig, model: str) -> dict[str, str]:
    """What is put into the environment before vLLM is imported."""
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if os.path.isdir(model):  # noqa: PTH112 - a folder needs no hub
        env["HF_HUB_OFFLINE"] = "1"
    return env | dict(config.environment)
