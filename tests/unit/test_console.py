"""Documentation that is run: what is typed and written, and that a wrong answer is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from console import Command, ExampleFailed, File, Shell, examples, follow

PAGE = """\
Some words. The greeting, `in/greeting.txt`:

```text
hello
```

```yaml
not: named
```

```console
$ cd in
$ cat greeting.txt &&
>   echo "twice $PWD"
hello
twice …/in
$ NAME=you; echo out; echo "error for $NAME" >&2
out
error for you
```

```console
$ false || echo "$NAME, in another block"
you, in another block
```
"""


def test_files_and_commands_are_found_in_order() -> None:
    found = list(examples(PAGE))
    assert found[0] == File(3, "in/greeting.txt", "hello\n")
    assert found[1] == Command(12, "cd in", None)
    assert found[2] == Command(13, 'cat greeting.txt &&\n  echo "twice $PWD"', "hello\ntwice …/in")
    assert len(found) == 5


def run(text: str, folder: Path, seconds: float = 10) -> int:
    (folder / "page.md").write_text(text)
    with Shell(folder, {"PATH": "/usr/bin:/bin"}) as shell:
        return follow(folder / "page.md", shell, folder, seconds)


def test_a_page_is_followed_in_one_shell(tmp_path: Path) -> None:
    assert run(PAGE, tmp_path) == 4


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("$ echo two\none", "Got:\n    two"),
        ("$ echo one; echo two\none", "Got:"),
        ("$ exit 3\n…", "no end"),
        ("$ (exit 3)", "ended with 3"),
        ("$ sleep 60", "no end within 1 s"),
        ("$ printf 'no line end'\nanother", "no line end"),
    ],
)
def test_what_differs_is_told_with_its_line(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(ExampleFailed) as failed:
        run(f"```console\n$ true\n{block}\n```\n", tmp_path, seconds=1)
    assert said in str(failed.value)


def test_a_command_can_not_eat_the_next_one(tmp_path: Path) -> None:
    assert run("```console\n$ cat\n$ echo one\none\n```\n", tmp_path) == 2
