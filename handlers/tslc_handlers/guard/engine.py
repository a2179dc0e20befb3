"""A guard model in this worker: a second vLLM engine beside the one that answers."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tslc_handlers.config import ConfigError
from tslc_handlers.engine import engine_values, platform_values
from tslc_handlers.executor import waiting
from tslc_handlers.guard.model import TOP, GuardFailed
from tslc_handlers.guard.reading import Token

FOLDER = "guard"
"""Where the guard's weights lie, below those of the model it guards."""


class EngineGuard:
    """Asks a vLLM engine client for the likeliest tokens and their log probabilities."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tokenizer = client.get_tokenizer()

    def is_dead(self) -> bool:
        return bool(self._client.errored)

    async def complete(self, prompt: str, max_tokens: int) -> Sequence[Token]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=0,
            max_tokens=max_tokens,
            logprobs=TOP,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"guard-{uuid.uuid4().hex}"
        try:
            # The prompt has its own begin-of-text.
            ids = self._tokenizer.encode(prompt, add_special_tokens=False)
            final = None
            async for output in self._client.generate(
                {"prompt_token_ids": ids}, sampling, request_id
            ):
                final = output
        except Exception as error:
            raise GuardFailed(f"the guard's engine: {error}") from error
        if final is None or not final.outputs:
            raise GuardFailed("the guard's engine gave nothing")
        return _tokens(final.outputs[0])


def _tokens(output: Any) -> list[Token]:
    tokens = []
    for token_id, places in zip(output.token_ids, output.logprobs or (), strict=False):
        top = {place.decoded_token or "": place.logprob for place in places.values()}
        text = places[token_id].decoded_token if token_id in places else None
        tokens.append(Token(text or "", top))
    return tokens


@contextlib.asynccontextmanager
async def open_guard_engine(
    folder: Path, config: Mapping[str, Any], environment: Mapping[str, str]
) -> AsyncIterator[EngineGuard]:
    """Load the guard from its weights folder; its process gets `environment` too.

    Raises ConfigError for engine arguments unknown.
    """
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())
    try:
        values = engine_values(config, known, parser)
        with _environment(environment):
            values |= platform_values(values)
        args = AsyncEngineArgs(
            **{
                "enable_prefix_caching": True,  # the prompt's long head is always the same
                **values,
                "model": str(folder),
                "max_logprobs": max(TOP, int(values.get("max_logprobs") or TOP)),
                # Its counts would take the place of the other engine's on the metrics page.
                "disable_log_stats": True,
            }
        )
    except ConfigError as error:
        raise ConfigError(
            f"handler.guard: {one.removeprefix('handler.')}" for one in error.mistakes
        ) from error
    own = {**environment, **waiting(values, {**os.environ, **environment})}
    with _environment(own):
        client = AsyncLLM.from_engine_args(args)
    try:
        yield EngineGuard(client)
    finally:
        client.shutdown()


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """What a process that is started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
