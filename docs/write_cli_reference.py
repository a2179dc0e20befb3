"""Writes docs/reference/cli.md from the commands themselves: python docs/write_cli_reference.py

A test compares the page with what this would write. The flags of the settings stand once, at the
end, since most commands have them all.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from tslc.cli.main import cli
from tslc.cli.settings_options import parameter
from tslc.domain.settings import FLAGS

PAGE = Path(__file__).parent / "reference" / "cli.md"
SHARED = {*map(parameter, FLAGS), "settings_file"}
HEAD = """\
# The commands

Made from `--help` by `docs/write_cli_reference.py`; don't edit it.

Results go to stdout, everything else to stderr; `--json` prints the result for machines. What a
command ends with: [exit codes](exit-codes-and-json.md). `-h` and `--help` show what stands here.
"""
FLAGS_OF_THE_SETTINGS = "[flags of the settings](#flags-of-the-settings)"


def render() -> str:
    root = click.Context(cli, info_name="tslc")
    parts = [HEAD]
    for context in commands(root):
        parts.append(section(context))
    parts.append(settings_section(root))
    return "\n".join(parts)


def commands(group: click.Context) -> Iterator[click.Context]:
    """Every command below, each group before what is in it."""
    assert isinstance(group.command, click.Group)
    for name in group.command.list_commands(group):
        command = group.command.get_command(group, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=group)
        yield context
        if isinstance(command, click.Group):
            yield from commands(context)


def section(context: click.Context) -> str:
    command = context.command
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    level = "##" if context.parent and context.parent.parent is None else "###"
    parts = [f"{level} {context.command_path}", f"    {usage}", prose(command)]
    if isinstance(command, click.Group):
        verbs = [f"`{context.command_path} {verb}`" for verb in command.list_commands(context)]
        parts.append(f"Its commands: {', '.join(verbs)}.")
    own = [one for one in command.params if one.name not in SHARED]
    if rows := records(own, context):
        parts.append(table(rows))
    if len(own) < len(command.params):
        parts.append(f"And the {FLAGS_OF_THE_SETTINGS}.")
    return "\n\n".join(parts) + "\n"


def prose(command: click.Command) -> str:
    """The help as Markdown: what looks like HTML or a placeholder is escaped."""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return re.sub(r"([<>*_])", r"\\\1", text)


def records(parameters: list[click.Parameter], context: click.Context) -> list[tuple[str, str]]:
    """What click shows of flags; an argument stands in the usage."""
    found = (one.get_help_record(context) for one in parameters if one.name != "help")
    return [record for record in found if record is not None and record[1]]


def table(rows: list[tuple[str, str]]) -> str:
    bar = r"\|"
    lines = [f"| `{flag.replace('|', bar)}` | {escaped(text)} |" for flag, text in rows]
    return "\n".join(["| flag | |", "|---|---|", *lines])


def escaped(text: str) -> str:
    return re.sub(r"([<>|*_])", r"\\\1", re.sub(r"\s{2,}", " ", text))


def settings_section(root: click.Context) -> str:
    """As `tslc config` has them: it has no others but its own two."""
    command = cli.get_command(root, "config")
    assert command is not None
    context = click.Context(command, info_name="config", parent=root)
    shared = [one for one in command.params if one.name in SHARED]
    head = "They win over variables and `tslc.yaml` ([settings](settings.md))."
    return "\n\n".join(["## Flags of the settings", head, table(records(shared, context))]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
