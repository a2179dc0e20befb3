"""Retrieval in a process of its own, with the handlers' code: making an index, asking one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tslc.domain.knowledge.document import Document, Passage
from tslc.errors import BadInput, RemoteFailed, TslcError

_MODULE = "tslc_handlers.rag"


def make_index(
    passages: Iterable[Passage],
    documents: Mapping[Document, int],
    embedding: Mapping[str, Path],
    about: Mapping[str, Any],
    scratch: Path,
    progress: Callable[[int, int], None],
) -> dict[str, Path]:
    """The files of an index, by their path in it. `documents` come with their count of passages.

    Raises TslcError.
    """
    source, index = scratch / "knowledge", scratch / "index"
    source.mkdir()
    with (source / "passages.jsonl").open("w", encoding="utf-8") as file:
        for one in passages:
            file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
    listed = {
        one.path: {"sha256": one.sha256, "title": one.title, "passages": count}
        for one, count in documents.items()
    }
    (source / "documents.json").write_text(json.dumps(listed), "utf-8")
    (source / "about.json").write_text(json.dumps(dict(about)), "utf-8")
    (source / "embedding").mkdir()
    for name, path in embedding.items():
        (source / "embedding" / name).symlink_to(path.absolute())
    command = [sys.executable, "-P", "-m", _MODULE, "make", str(source), str(index)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        last = ""
        for line in process.stderr:
            match line.split():
                case [done, total] if done.isdigit() and total.isdigit():
                    progress(int(done), int(total))
                case _:
                    last = line.strip() or last
    if process.returncode:
        raise TslcError(f"the index could not be made: {last or 'it said nothing'}")
    made = {p.relative_to(index).as_posix(): p for p in index.rglob("*") if p.is_file()}
    return {**made, **{f"embedding/{name}": path for name, path in embedding.items()}}


def ask(folder: Path, words: Iterable[str]) -> Any:
    """What `python -m tslc_handlers.rag WORDS` of an unpacked archive answers, with its own code.

    Raises BadInput with what it says against it, RemoteFailed when a database did not answer.
    """
    # -P: without it the current folder comes before PYTHONPATH.
    others = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, [str(folder), others]))
    done = subprocess.run(
        [sys.executable, "-P", "-m", _MODULE, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        kind = RemoteFailed if done.returncode == RemoteFailed.exit_code else BadInput
        raise kind(f"{folder.name}: {lines[-1]}")
    return json.loads(done.stdout)
