"""Every `tslc …` that the documentation shows exists, with its flags, and would be understood."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pages import PAGES, ROOT, blocks, code_in_sentences, name_of
from tslc.cli.main import cli

# Its blocks are click's own, such as `tslc up [OPTIONS]`.
USAGES = ROOT / "docs" / "reference" / "cli.md"
ENGINE_FLAGS = "--vllm_engine."
# What stands between two commands on a line, or after the last.
BETWEEN = re.compile(r"&&|\|\||;|\||\$\(|\)| >")


def typed(text: str) -> Iterator[str]:
    """Every `tslc …` in blocks of code."""
    for block in blocks(text):
        yield from commands(block.text)


def mentioned(text: str) -> Iterator[str]:
    """Every `tslc …` within a sentence."""
    for code in code_in_sentences(text):
        yield from commands(code)


def commands(block: str) -> Iterator[str]:
    for line in re.sub(r"\\\n>?", " ", block).splitlines():
        for part in BETWEEN.split(line):
            command = part.strip().removeprefix("$ ")
            if command.startswith("tslc "):
                yield command


def words_of(command: str) -> list[str]:
    """Without the brackets around what may be left out, and without … for what is."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        words = command.split()
    return [bare for word in words[1:] if (bare := word.strip("[]")) not in ("…", "")]


def resolve(words: list[str]) -> tuple[click.Command, list[str]] | str:
    """The command that is meant and the words it gets; or what is wrong."""
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        nested = found.get_command(click.Context(found), words[0])
        if nested is None:
            return f"no verb {words[0]!r}"
        found, words = nested, words[1:]
    return found, words


def problem(command: str) -> str | None:
    """What of a mentioned command does not exist; None when all does."""
    resolved = resolve(words_of(command))
    if isinstance(resolved, str):
        return resolved
    found, words = resolved
    known = {"--help", "-h"} | {flag for one in found.params for flag in flags_of(one)}
    if found is cli:
        known.add("--version")
    stated = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [flag for flag in stated if flag not in known and not is_the_engines(found, flag)]
    return f"no flag {', '.join(unknown)}" if unknown else None


def misunderstood(command: str) -> str | None:
    """Why click would not take a typed command; what its words mean is not looked at."""
    resolved = resolve(words_of(command))
    if isinstance(resolved, str):
        return resolved
    found, words = resolved
    if {"--help", "-h", "--version"} & set(words):
        return None
    if isinstance(found, click.Group) and not found.invoke_without_command:
        return "a verb is missing"
    context = click.Context(found, info_name=found.name)
    try:
        given, rest, _ = found.make_parser(context).parse_args(without_engine_flags(found, words))
    except click.UsageError as error:
        return error.format_message()
    if rest:
        return f"too much: {' '.join(rest)}"
    missing = [one.name for one in found.params if one.required and not said(given, one)]
    if missing:
        return f"missing: {missing}"
    return next(filter(None, (wrong_choice(one, given) for one in found.params)), None)


def said(given: dict[str, object], parameter: click.Parameter) -> bool:
    """click's parser has a mark of its own for what was not said."""
    value = given.get(parameter.name or "")
    return isinstance(value, str | list | tuple) and value != ()


def wrong_choice(parameter: click.Parameter, given: dict[str, object]) -> str | None:
    value = given.get(parameter.name or "")
    if isinstance(parameter.type, click.Choice) and isinstance(value, str):
        known = [str(choice) for choice in parameter.type.choices]
        if value not in known and not value.isupper():
            return f"{parameter.name} is one of {', '.join(known)}, not {value}"
    return None


def is_the_engines(found: click.Command, flag: str) -> bool:
    """`tslc run` hands such flags on, and names the wrong ones itself."""
    return found.name == "run" and flag.startswith(ENGINE_FLAGS)


def without_engine_flags(found: click.Command, words: list[str]) -> list[str]:
    at = [i for i, word in enumerate(words) if is_the_engines(found, word)]
    return [word for i, word in enumerate(words) if i not in at and i - 1 not in at]


def flags_of(parameter: click.Parameter) -> tuple[str, ...]:
    named = isinstance(parameter, click.Option)
    return (*parameter.opts, *parameter.secondary_opts) if named else ()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_a_sentence_exists_with_its_flags(page: Path) -> None:
    problems = {command: problem(command) for command in mentioned(page.read_text())}
    assert {command: said for command, said in problems.items() if said} == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page != USAGES], ids=name_of)
def test_every_command_in_a_block_would_be_understood(page: Path) -> None:
    problems = {command: misunderstood(command) for command in typed(page.read_text())}
    assert {command: said for command, said in problems.items() if said} == {}


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text()
    named = {word for code in code_in_sentences(text) for word in re.findall(r"[a-z]+", code)}
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
def test_a_wrong_mention_would_be_found(command: str, said: str | None) -> None:
    assert problem(command) == said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("tslc promote m", "missing: ['version']"),
        ("tslc promote m 1 2", "too much: 2"),
        ("tslc promote m 1 --reason", "Option '--reason' requires an argument."),
        ("tslc promote m 1 --strategy hot", "strategy is one of warm, recreate, not hot"),
        ("tslc keys", "a verb is missing"),
        ("tslc build spec", "missing: ['version']"),
        ("tslc history --limit 5", None),
        ("tslc run ORG/NAME --vllm_engine.max_model_len 4096", None),
    ],
)
def test_a_wrong_command_would_be_found(command: str, said: str | None) -> None:
    assert misunderstood(command) == said


def test_commands_are_found_in_blocks_lists_and_sentences() -> None:
    text = "a `tslc up` b\n\n    make x && tslc down\n\n```\n$ tslc list \\\n>   m | head\n```\n"
    assert list(mentioned(text)) == ["tslc up"]
    assert [words_of(one) for one in typed(text)] == [["down"], ["list", "m"]]
