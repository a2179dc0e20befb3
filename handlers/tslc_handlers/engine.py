"""vLLM: from a model config to its own ASGI application.

The one seam used is the one vLLM's API server is made of: build_async_engine_client, build_app,
init_app_state. Every endpoint, error and streaming rule is therefore vLLM's.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tslc_handlers.asgi import ASGIApp
from tslc_handlers.chat_template import named_template, template_of, with_system_prompt
from tslc_handlers.config import ConfigError, HandlerConfig, nearest
from tslc_handlers.executor import cpu_executor, waiting


@dataclasses.dataclass
class Engine:
    """A running engine and its application.

    `tokens` gives (prompt, generated) tokens since the start; `probe` is the request that shows
    the engine generates: path and JSON body.
    """

    app: ASGIApp
    is_dead: Callable[[], bool]
    tokens: Callable[[], tuple[int, int]]
    probe: tuple[str, dict[str, Any]]


@contextlib.asynccontextmanager
async def open_engine(
    config: HandlerConfig, model: str, archive: Path, served: tuple[str, ...]
) -> AsyncIterator[Engine]:
    """Load the model and yield the engine. Raises ConfigError before anything is loaded."""
    args = server_arguments(config, model, archive, served)
    os.environ.update(waiting(vars(args), os.environ))
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
    from vllm.entrypoints.launchers.app import build_app

    async with build_async_engine_client(args) as client:
        tasks = await client.get_supported_tasks()
        app = build_app(args, tasks, client.model_config)
        # vLLM's error handler asks the server to end when the engine is dead; here `watch` does.
        app.state.server = SimpleNamespace(should_exit=False)
        await init_app_state(client, app.state, args, tasks)
        if args.chat_template:
            Path(args.chat_template).unlink(missing_ok=True)
        yield Engine(app, lambda: client.errored, _token_counts, _probe(served[0], tasks))


def _probe(served: str, tasks: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if "generate" in tasks:
        body = {"model": served, "prompt": "ready", "max_tokens": 1, "temperature": 0}
        return "/v1/completions", body
    path = next((p for task, p in _PROBES.items() if task in tasks), "/pooling")
    return path, {"model": served, "input": "ready"}


# What a model that does not generate can be asked, by vLLM's task.
_PROBES = {"embed": "/v1/embeddings", "classify": "/classify"}


def _token_counts() -> tuple[int, int]:
    from prometheus_client import REGISTRY

    names = ["vllm:prompt_tokens_total", "vllm:generation_tokens_total"]
    counts = dict.fromkeys(names, 0.0)
    for family in REGISTRY.restricted_registry(names).collect():
        for sample in family.samples:
            if sample.name in counts:
                counts[sample.name] += sample.value
    return int(counts[names[0]]), int(counts[names[1]])


def server_arguments(
    config: HandlerConfig, model: str, archive: Path, served: tuple[str, ...]
) -> Namespace:
    """vLLM's server arguments. Raises ConfigError naming every unknown engine argument."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.launchers.launcher import validate_api_server_args
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    args: Namespace = parser.parse_args(["--model", model])
    values = engine_values(config.vllm_engine_config, known, parser)
    for name, value in (values | platform_values(values)).items():
        setattr(args, name, value)
    args.model = model
    args.served_model_name = list(served)  # handler.served_model_name, or the engine's own
    args.disable_uvicorn_access_log = True
    args.response_role = config.response_role
    args.chat_template_content_format = config.chat_template_content_format
    args.default_chat_template_kwargs = dict(config.default_chat_template_kwargs) or None
    args.chat_template = _template_file(config, Path(model), archive)
    if config.tool_call_parser:
        args.tool_call_parser, args.enable_auto_tool_choice = config.tool_call_parser, True
    if config.reasoning_parser:
        args.reasoning_parser = config.reasoning_parser
    if config.adapters:
        args.enable_lora = True
        args.lora_modules = [
            LoRAModulePath(name, str(archive / path)) for name, path in config.adapters.items()
        ]
    try:
        validate_parsed_serve_args(args)
        validate_api_server_args(args)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError([str(error.args[0] if error.args else error)]) from error
    return args


def platform_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Engine arguments that are better than vLLM's defaults on this machine."""
    from vllm.platforms import current_platform

    return cpu_executor(values, os.environ) if current_platform.is_cpu() else {}


def engine_values(given: Mapping[str, Any], known: set[str], parser: Any) -> dict[str, Any]:
    """`vllm_engine_config`, keys checked against vLLM's, texts read as its command line would."""
    names = {key: key.replace("-", "_") for key in given}
    unknown = [
        f"handler.vllm_engine_config.{key} is not an engine argument of this vLLM"
        f"{nearest(name, known)}"
        for key, name in names.items()
        if name not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    actions = {action.dest: action for action in parser._actions}
    values, wrong = {}, []
    for key, value in given.items():
        name = names[key]
        if name == "model":
            continue
        try:
            values[name] = _read(actions.get(name), value)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
            wrong.append(f"handler.vllm_engine_config.{key}: {error}")
    if wrong:
        raise ConfigError(wrong)
    return values


def _read(action: argparse.Action | None, value: Any) -> Any:
    """One value as vLLM's command line would take it: mappings as JSON, texts through its type."""
    if action is None:
        return value
    if isinstance(action, argparse.BooleanOptionalAction) and isinstance(value, str):
        raise ValueError(f"write true or false, not the text {value!r}")
    if callable(action.type) and isinstance(value, str | dict):
        value = action.type(value if isinstance(value, str) else json.dumps(value))
    if action.choices and isinstance(value, str) and value not in action.choices:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, action.choices))}")
    return value


def _template_file(config: HandlerConfig, model: Path, archive: Path) -> str | None:
    """A file with the chat template, or None for the model's own."""
    template = named_template(config.chat_template, archive) if config.chat_template else None
    if config.system_prompt is not None:
        template = template or template_of(model)
        if template is None:
            raise ConfigError(
                [
                    "handler.system_prompt needs a chat template, and the model has none; "
                    "name one in handler.chat_template"
                ]
            )
        template = with_system_prompt(template, config.system_prompt)
    if template is None:
        return None
    handle, name = tempfile.mkstemp(suffix=".jinja", text=True)
    with os.fdopen(handle, "w") as file:
        file.write(template)
    return name
