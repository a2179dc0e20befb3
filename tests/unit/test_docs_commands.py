"""What README.md and docs/ show exists: every command with its flags, and every file linked to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tslc.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
)
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENGINE_FLAGS = "--vllm_engine."
# What stands between two commands on a line.
BETWEEN = re.compile(r"&&|\|\||;|\|")


def shown(text: str) -> Iterator[str]:
    """Every `tslc …` in code: lines of blocks, and words within a sentence."""
    for block in FENCED.findall(text):
        yield from commands(block)
    rest = FENCED.sub("", text)
    for line in rest.splitlines():
        if line.startswith("    "):
            yield from commands(line)
        else:
            for code in INLINE.findall(line):
                yield from commands(code)


def commands(block: str) -> Iterator[str]:
    for line in block.splitlines():
        for part in BETWEEN.split(line):
            command = part.strip().removeprefix("$ ")
            if command.startswith("tslc "):
                yield command


def words_of(command: str) -> list[str]:
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        words = command.split()
    return [word.strip("[]") for word in words[1:]]


def problem(command: str) -> str | None:
    """What of a shown command does not exist; None when all does."""
    found: click.Command = cli
    for at, word in enumerate(words := words_of(command)):
        if not isinstance(found, click.Group) or word.startswith("-"):
            break
        nested = found.get_command(click.Context(found), word)
        if nested is None:
            if found.invoke_without_command:
                break
            return f"no verb {word!r}"
        found, words = nested, words_of(command)[at + 1 :]
    known = {"--help", "-h"} | {flag for one in found.params for flag in flags_of(one)}
    if found is cli:
        known.add("--version")
    stated = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [flag for flag in stated if flag not in known and not is_the_engines(found, flag)]
    return f"no flag {', '.join(unknown)}" if unknown else None


def is_the_engines(found: click.Command, flag: str) -> bool:
    """`tslc run` hands such flags on, and names the wrong ones itself."""
    return found.name == "run" and flag.startswith(ENGINE_FLAGS)


def flags_of(parameter: click.Parameter) -> tuple[str, ...]:
    named = isinstance(parameter, click.Option)
    return (*parameter.opts, *parameter.secondary_opts) if named else ()


def anchors(page: Path) -> set[str]:
    """As GitHub names a page's headings."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_exists_with_its_flags(page: Path) -> None:
    problems = {command: problem(command) for command in shown(page.read_text())}
    assert {command: said for command, said in problems.items() if said} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text()
    named = {word for code in INLINE.findall(text) for word in re.findall(r"[a-z]+", code)}
    assert set(cli.list_commands(click.Context(cli))) - named == set()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("tslc promot m 1", "no verb 'promot'"),
        ("tslc promote m 1 --dry-runn", "no flag --dry-runn"),
        ("tslc keys mint anna", "no verb 'mint'"),
        ("tslc history verify --model m", "no flag --model"),
        ("tslc split m 1=90 2=10 --sticky header:x --wait", None),
        ("tslc history --env e --at 2026-01-31   # then", None),
    ],
)
def test_a_wrong_command_would_be_found(command: str, said: str | None) -> None:
    assert problem(command) == said


def test_commands_are_found_in_blocks_lists_and_sentences() -> None:
    text = "a `tslc up` b\n\n    make x && tslc down\n\n```\n$ tslc list | head\n```\n"
    assert sorted(shown(text)) == ["tslc down", "tslc list", "tslc up"]
