"""The `tslc` command: finds the verb, runs it, turns its errors into lines and an exit code.

A verb's module is imported only when that verb is asked for, and what carries it out only when it
runs: the functions of tslc.cli import tslc.verbs themselves. So `--help` stays fast.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn, cast

import click

import tslc
from tslc.errors import TslcError

# verb -> (module below tslc.cli, the line of `tslc --help`)
VERBS: dict[str, tuple[str, str]] = {
    "agent": ("agent", "Bring this node to what the store says, and keep it there."),
    "build": ("build", "Build a model archive from archives/<name>/archive.yaml."),
    "chat": ("chat", "Ask a served model something; the answer streams."),
    "config": ("config", "Show the settings in force and where each comes from."),
    "default": ("default", "Make a version the one that answers when none is named."),
    "diff": ("diff", "Show what changed from one version in the store to another."),
    "down": ("down", "Stop the local node and everything it started."),
    "eval": ("eval", "Ask running versions their golden prompts, side by side."),
    "gc": ("gc", "Find blobs in the store that nothing refers to, and delete them."),
    "history": ("history", "Show who changed an environment, when, why, from what to what."),
    "keygen": ("keygen", "Make a key pair to sign versions with."),
    "keys": ("keys", "Make, list and revoke the API keys of an environment."),
    "lint": ("lint", "Check model configs and archive specs, and say how to mend them."),
    "list": ("list_versions", "List the versions in the store."),
    "pipeline": ("pipeline", "The pipeline on AWS: its template, and its worker."),
    "promote": ("promote", "Give a version all of a model's traffic."),
    "pull": ("pull", "Bring a version from the store, every byte verified."),
    "push": ("push", "Put a version into the store; only what it lacks is sent."),
    "rag": ("rag", "Ask an archive's knowledge base, and measure how well it answers."),
    "register": ("register", "Load a version and wait until it answers its golden prompts."),
    "release": ("release", "Bring a version to all traffic step by step, or back."),
    "retire": ("retire", "Unload a version from every node."),
    "rollback": ("rollback", "Give all traffic back to the version before."),
    "run": ("run", "Serve a model folder or an archive on this machine, at once."),
    "show": ("show", "Show what a version in the store is made of, and who made it."),
    "split": ("split", "Divide a model's traffic between versions."),
    "status": ("status", "Show a node, or an environment: desired against actual."),
    "unregister": ("unregister", "Take a version off the node."),
    "up": ("up", "Start a node: TorchServe, router, agent, and a store if it has none."),
    "verify": ("verify", "Read a version in the store and check every byte of it."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"tslc.cli.{VERBS[cmd_name][0]}")
        return cast(click.Command, module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in sorted(VERBS)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(_with_nearest(error.message, args[0]), ctx) from None


def _with_nearest(message: str, word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, VERBS, n=1)
    return f"{message} Did you mean '{near[0]}'?" if near else message


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tslc.__version__, prog_name="tslc")
def cli() -> None:
    """The release engineering of LLMs on TorchServe + vLLM.

    Results go to stdout (add --json for machines), everything else to stderr. Exit codes:
    0 done, 1 other, 2 bad input, 3 refused, 4 inconclusive, 5 a remote failed.
    """


def main() -> NoReturn:
    try:
        cli.main(prog_name="tslc", standalone_mode=False)
        sys.exit(0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.UsageError as error:
        click.echo(f"error: {error.format_message()}", err=True)
        click.echo(f"hint: {error.ctx.command_path if error.ctx else 'tslc'} --help", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(2)
    except TslcError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
