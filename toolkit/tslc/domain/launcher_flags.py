"""The flags of TorchServe's LLM launcher that name engine arguments: `--vllm_engine.<argument>`.

Decides which words of a command line they are, whether vLLM has such an argument, and what a text
means to it. Any argument of the engine is taken, not only the three of the original.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from tslc.domain.annotations import fits
from tslc.domain.engine_fields import EngineFields
from tslc.domain.vocabulary import nearest
from tslc.errors import BadFile, BadInput, Mistake

_OURS = ("--vllm_engine.", "--vllm-engine.")
_TENSORRT = ("--trt_llm_engine.", "--trt-llm-engine.")
VLLM = "vllm"


@dataclass(frozen=True)
class EngineFlag:
    """`--vllm_engine.max_model_len 2048`; `text` is None when nothing follows the flag."""

    spelling: str
    name: str
    text: str | None


def split_engine_flags(words: Sequence[str]) -> tuple[list[str], tuple[EngineFlag, ...]]:
    """The other words, in order, and the engine flags with the word or `=value` behind each.

    What follows `--` is left alone. Raises BadInput for TensorRT-LLM's flags.
    """
    rest: list[str] = []
    flags: list[EngineFlag] = []
    left = iter(words)
    following: str | None = next(left, None)
    while following is not None:
        word, following = following, next(left, None)
        if word == "--":
            rest += [word, *([] if following is None else [following]), *left]
            break
        if word.startswith(_TENSORRT):
            raise engine_refusal("trt_llm")
        prefix = next((one for one in _OURS if word.startswith(one)), None)
        if prefix is None:
            rest.append(word)
            continue
        spelling, equals, text = word.partition("=")
        taken = not equals and following is not None and not following.startswith("--")
        value = text if equals else following if taken else None
        flags.append(EngineFlag(spelling, spelling.removeprefix(prefix).replace("-", "_"), value))
        if taken:
            following = next(left, None)
    return rest, tuple(flags)


def engine_refusal(engine: str) -> BadInput:
    """Why an engine other than vLLM is not run."""
    if engine == "trt_llm":
        return BadInput(
            "TensorRT-LLM is not run: the original clones TensorRT-LLM 0.12 from GitHub at start "
            "and calls its conversion script and trtllm-build, and its handler only works with "
            "that release",
            hint="leave the engine out: vLLM serves the same models on the same GPUs",
        )
    hint = f"--engine {VLLM}"
    return BadInput(f"{engine!r} is not an engine: there is only {VLLM}", hint=hint)


def engine_values(flags: Sequence[EngineFlag], fields: EngineFields) -> dict[str, object]:
    """The engine arguments by name; of a flag said twice the last one counts.

    Raises BadFile with every flag that names no argument, or has no value it could take.
    """
    if mistakes := tuple(_mistakes(flags, fields)):
        raise BadFile("the command line", mistakes)
    return {flag.name: _value(flag, fields) for flag in flags}


def _mistakes(flags: Sequence[EngineFlag], fields: EngineFields) -> Iterator[Mistake]:
    prefix = _OURS[0]
    for flag in flags:
        field = fields.get(flag.name)
        if flag.name == "model":
            yield Mistake(flag.spelling, "the model is an argument of its own", "write it as MODEL")
        elif field is None:
            near = nearest(flag.name, fields.fields)
            fix = f"write {prefix}{near}" if near else f"see `{prefix}…` in docs/llm_launcher.md"
            problem = f"not an engine argument of vLLM {fields.vllm_version}"
            yield Mistake(flag.spelling, problem, fix)
        elif flag.text is None and not fits(field.annotation, True):
            yield Mistake(flag.spelling, "its value is missing", f"write {flag.spelling} VALUE")


def _value(flag: EngineFlag, fields: EngineFields) -> object:
    if flag.text is None:
        return True
    annotation = fields.fields[flag.name].annotation
    for value in _readings(flag.text):
        if fits(annotation, value):
            return value
    return flag.text


def _readings(text: str) -> Iterator[object]:
    """What a text may stand for, the likeliest first."""
    with contextlib.suppress(ValueError, RecursionError):
        yield json.loads(text)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return
    # YAML takes more texts for numbers and dates than anyone means on a command line.
    if value is None or isinstance(value, bool | list | dict):
        yield value
