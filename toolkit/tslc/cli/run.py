"""`tslc run`: takes the flags of TorchServe's LLM launcher too, in both spellings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import yaml

from tslc.cli.node_options import ProgressLine, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option, say
from tslc.domain.launcher_flags import VLLM, EngineFlag, engine_refusal, split_engine_flags
from tslc.domain.quick_run import DEFAULT_NAME, STARTUP_SECONDS, ServerKind

if TYPE_CHECKING:
    from tslc.verbs.run import Ready, Talk
    from tslc.verbs.run_plan import RunPlan, RunRequest

_FLAGS = "tslc.engine_flags"
_Command = TypeVar("_Command", bound=Callable[..., Any])


class LauncherCommand(click.Command):
    """Takes `--vllm_engine.<argument>`, whatever arguments vLLM has, out of the command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest, ctx.meta[_FLAGS] = split_engine_flags(args)
        return super().parse_args(ctx, rest)


def _option(name: str, **about: Any) -> Callable[[_Command], _Command]:
    """An option of the launcher's, with underscores as there, or with hyphens."""
    return click.option(f"--{name}", f"--{name.replace('_', '-')}", name, **about)


@click.command("run", cls=LauncherCommand)
@click.argument("model", required=False, metavar="MODEL")
@_option("model_id", metavar="MODEL", help="The launcher's way to name MODEL.")
@click.option(
    "--server",
    type=click.Choice([str(kind) for kind in ServerKind]),
    default=str(ServerKind.UVICORN),
    show_default=True,
    help="What serves it.",
)
@_option("model_name", help=f"What requests call it.  [default: {DEFAULT_NAME}]")
@click.option("--host", default="127.0.0.1", show_default=True, help="uvicorn's address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="0 takes any free one.  [default: 8000; 8080 with torchserve]",
)
@click.option("--engine", default=VLLM, show_default=True, help="There is only vllm.")
@click.option("--dtype", help="Short for --vllm_engine.dtype.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the model config, as in handler.system_prompt='Be brief.'",
)
@_option(
    "startup_timeout",
    type=click.IntRange(1),
    metavar="SECONDS",
    help=f"How long loading may take.  [default: {STARTUP_SECONDS}]",
)
@_option(
    "model_store",
    type=click.Path(path_type=Path),
    help="Make the archive there and keep it.  [default: a temporary folder]",
)
@_option("disable_token_auth", is_flag=True, help="With torchserve: ask requests for no key.")
@click.option("-v", "--verbose", is_flag=True, help="Show the server's lines while it loads, too.")
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **said: Any) -> None:
    """Serve MODEL on this machine, at once, until Ctrl-C.

    MODEL is a Hugging Face folder, a name of the hub (ORG/NAME[@REVISION]), a built archive, or a
    folder with an archive.yaml.

    --vllm_engine.ARGUMENT VALUE sets any engine argument of vLLM, as in
    --vllm_engine.max_model_len 4096. Settings that fit this machine are chosen for those not given.
    """
    from tslc.verbs.run import run
    from tslc.verbs.run_plan import plan_run

    if said["engine"] != VLLM:
        raise engine_refusal(said["engine"])
    flags: tuple[EngineFlag, ...] = ctx.meta[_FLAGS]
    plan = plan_run(_request(said, flags), os.environ)
    for warning in plan.warnings:
        say(f"warning: {warning}")
    if said["dry_run"]:
        emit(_plan_json(plan), lambda: _plan_text(plan), as_json=said["as_json"])
        return
    with progress() as line:
        run(plan, os.environ, _talk(line, verbose=said["verbose"], as_json=said["as_json"]))
    say("stopped")


def _request(said: dict[str, Any], flags: tuple[EngineFlag, ...]) -> RunRequest:
    from tslc.verbs.run_plan import RunRequest

    named = {name for name in (said["model"], said["model_id"]) if name}
    if len(named) != 1:
        problem = "MODEL and --model_id name different models" if named else "no MODEL is named"
        raise click.UsageError(f"{problem}: write `tslc run MODEL`")
    return RunRequest(
        model=named.pop(),
        server=ServerKind(said["server"]),
        model_name=said["model_name"],
        model_store=said["model_store"],
        startup_timeout=said["startup_timeout"],
        dtype=said["dtype"],
        engine_flags=flags,
        overrides=said["overrides"],
        host=said["host"],
        port=said["port"],
        token_auth=not said["disable_token_auth"],
    )


def _talk(line: ProgressLine, *, verbose: bool, as_json: bool) -> Talk:
    from tslc.verbs.run import Talk

    def ready(found: Ready) -> None:
        line.clear()
        if as_json:
            emit(_ready_json(found), "", as_json=True)
        say(_ready_text(found))

    def log(text: str) -> None:
        line.clear()
        say(text)

    return Talk(line, log, ready, verbose)


def _ready_json(ready: Ready) -> dict[str, Any]:
    plan = ready.plan
    return {
        "model": plan.model,
        "version": plan.version,
        "served_name": ready.served_name,
        "server": str(plan.request.server),
        "url": plan.url,
        "pid": ready.pid,
        "seconds": round(ready.seconds, 2),
        "key_file": str(ready.key_file) if ready.key_file else None,
    }


def _ready_text(ready: Ready) -> str:
    plan = ready.plan
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = json.dumps({"model": ready.served_name, "messages": messages})
    lines = [
        f"{plan.model} {plan.version} is ready after {ready.seconds:.0f} s: {plan.url}",
        "",
    ]
    key = "none"
    if ready.key_file:
        key = "$KEY"
        code = "import json, sys; print(json.load(open(sys.argv[1]))['inference']['key'])"
        lines.append(f'  KEY=$(python3 -c "{code}" {ready.key_file})')
    header = f' -H "Authorization: Bearer {key}"' if ready.key_file else ""
    lines += [
        f"  curl {plan.url}/chat/completions{header} \\",
        f"    -H 'Content-Type: application/json' -d '{body}'",
        f'  OpenAI(base_url="{plan.url}", api_key="{key}")   # from openai import OpenAI',
        "",
        "Ctrl-C stops it",
    ]
    return "\n".join(lines)


def _plan_json(plan: RunPlan) -> dict[str, Any]:
    return {
        "dry_run": True,
        "plan": list(plan.steps()),
        "model": plan.model,
        "version": plan.version,
        "url": plan.url,
        "model_config": yaml.safe_load(plan.config.text),
        "warnings": list(plan.warnings),
    }


def _plan_text(plan: RunPlan) -> str:
    text = plan_text(plan.steps())
    return f"{text}\nwith this model config:\n{plan.config.text}" if plan.config.text else text
