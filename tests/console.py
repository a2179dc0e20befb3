"""Markdown whose examples are run: its `console` blocks in one shell, in order, and its files.

A paragraph that ends with a path in backticks and a colon names the file that the next block
holds. In a `console` block `$ ` begins a command, `> ` goes on with it, and what follows is what is
answered, with … for what varies; blanks count as one. A command below which nothing stands may
answer anything, but has to succeed. Blocks of other languages are only read.

Own code, because what there is fits only in part: byexample needs its own notation and a terminal,
prysk its own files, pytest-codeblocks knows no prompts, and Sybil would find the blocks, which
markdown-it does as well. doctest compares.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_NAMED_FILE = re.compile(r"`([\w./-]+)`:$")


@dataclass(frozen=True)
class File:
    line: int
    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """`answer` None: nothing is said of it."""

    line: int
    text: str
    answer: str | None


class ExampleFailed(AssertionError):
    pass


def examples(text: str) -> Iterator[File | Command]:
    """What is to be written and typed, in order."""
    before: Token | None = None
    for token in MarkdownIt().parse(text):
        if token.type == "inline":
            before = token
        elif token.type == "fence" and token.map:
            named = _NAMED_FILE.search(before.content) if before else None
            if token.info.strip() == "console":
                yield from _commands(token.content, token.map[0] + 2)
            elif named:
                yield File(token.map[0] + 1, named[1], token.content)
            before = None


def _commands(block: str, first_line: int) -> Iterator[Command]:
    typed: list[str] = []
    answer: list[str] = []
    at = first_line
    for number, line in enumerate(block.splitlines(), start=first_line):
        if line.startswith("$ "):
            if typed:
                yield Command(at, "\n".join(typed), "\n".join(answer) or None)
            typed, answer, at = [line[2:]], [], number
        elif line.startswith("> ") and not answer:
            typed.append(line[2:])
        else:
            answer.append(line)
    if typed:
        yield Command(at, "\n".join(typed), "\n".join(answer) or None)


class Shell:
    """One bash that keeps its folder and its variables from one command to the next."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._mark = secrets.token_hex(8)

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._kill()
        self._bash.communicate()

    def _kill(self) -> None:
        """What the shell waits for, too: it would keep the pipe open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)

    def run(self, command: str, seconds: float) -> tuple[int, str]:
        """The exit code and what was answered, on stdout and stderr as they came. It reads nothing
        from the terminal."""
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f"{{\n{command}\n}} </dev/null\necho {self._mark} $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        timer = threading.Timer(seconds, self._kill)
        timer.start()
        try:
            for line in self._bash.stdout:
                before, mark, code = line.partition(f"{self._mark} ")
                if mark:
                    return int(code), "".join([*lines, before])
                lines.append(line)
        finally:
            timer.cancel()
        raise ExampleFailed(f"no end within {seconds:.0f} s of: {command}\n{''.join(lines)}")


def follow(page: Path, shell: Shell, folder: Path, seconds: float) -> int:
    """Do what the page says; how many commands that were. `folder`: where its files go."""
    done = 0
    for example in examples(page.read_text()):
        match example:
            case File():
                (folder / example.path).parent.mkdir(parents=True, exist_ok=True)
                (folder / example.path).write_text(example.text)
            case Command():
                code, answered = shell.run(example.text, seconds)
                judge(page, example, code, answered)
                done += 1
    return done


def judge(page: Path, command: Command, code: int, answered: str) -> None:
    """Raises ExampleFailed where the answer is not the one that is shown."""
    where = f"{page.name}:{command.line}: $ {command.text}"
    if code:
        raise ExampleFailed(f"{where}\nended with {code}:\n{answered}")
    if command.answer is None:
        return
    shown = doctest.Example(command.text, command.answer.replace("…", "...") + "\n")
    checker = doctest.OutputChecker()
    if not checker.check_output(shown.want, answered.rstrip("\n") + "\n", _FLAGS):
        raise ExampleFailed(f"{where}\n{checker.output_difference(shown, answered, _FLAGS)}")
