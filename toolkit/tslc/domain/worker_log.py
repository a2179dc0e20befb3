"""Reading a worker's own words out of TorchServe's log of all workers.

Decides which lines are one version's, whether they tell of its death, and which exception was the
reason: the worker's, not the one TorchServe wraps it in. It opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LINE = re.compile(r"\S+ \[\s*(\w+)\s*\] (W-\d+-.+)-(stdout|stderr) MODEL_LOG - (.*)")
_READ_TO_END = "Stopped Scanner"
_DIED = "Backend worker process died."
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')
_EXCEPTION = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?")
# vLLM's processes prefix what they print: `(EngineCore pid=7) ERROR 01-31 12:00:00 [core.py:1] `.
_PREFIX = re.compile(
    r"^\((?P<process>[A-Za-z][\w:. -]*pid=\d+)\) (?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?"
)
# What TorchServe (and vLLM's front) raises because of another exception that was printed before.
_WRAPPERS = (
    re.compile(r"RuntimeError: \d{3} - "),
    re.compile(r"ModuleNotFoundError: No module named 'ts\.torch_handler\."),
    re.compile(r"RuntimeError: Engine core initialization failed"),
    re.compile(r"RuntimeError: Worker failed with error "),
)
_HIDDEN = re.compile(
    r"/ts/(model_loader|model_service_worker|async_service|service)\.py$"
    r"|/lib/python3\.\d+/(?!site-packages/|dist-packages/)|^<frozen "
)
# A file is shown by its path in the archive, or in its package.
_ROOTS = re.compile(r".*/models/[0-9a-f]{32}/|.*/(site|dist)-packages/")
_SHOWN_FRAMES = 3
_MESSAGE_LINES = 12


@dataclass(frozen=True)
class WorkerLine:
    """One line a worker printed, to `stream` (stdout, stderr); `worker` is TorchServe's thread."""

    worker: str
    stream: str
    text: str


@dataclass(frozen=True)
class Frame:
    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line} in {self.function}"
        return f"{place}: {self.code}" if self.code else place


@dataclass(frozen=True)
class WorkerError:
    """The exception that ended a load, and the frames of the handler's side it passed through."""

    exception: str
    frames: tuple[Frame, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self.exception, *(f"    at {frame}" for frame in self.frames)])


def lines_of(log: Iterable[str], model: str, version: str) -> tuple[WorkerLine, ...]:
    """The lines of one version. TorchServe names a version's workers `<model>_<version>`."""
    wanted = re.compile(rf"W-\d+-{re.escape(f'{model}_{version}')}")
    found = []
    for line in log:
        match = _LINE.fullmatch(line.rstrip("\n"))
        if match and wanted.fullmatch(match[2]):
            found.append(WorkerLine(match[2], match[3], match[4]))
    return tuple(found)


def worker_died(lines: Iterable[WorkerLine]) -> bool:
    return any(line.text.startswith(_DIED) for line in lines)


def server_saw_death(log: Iterable[str], model: str, version: str) -> bool:
    """Whether TorchServe's own log says that a worker of this version ended while it started.

    A worker that is killed, or that can't even import, has no last words of its own.
    """
    said = re.compile(
        rf"W-\d+-{re.escape(f'{model}_{version}')} .* - Backend worker (error|thread)"
    )
    return any(said.search(line) for line in log)


def has_said_all(log: Iterable[str], model: str, version: str) -> bool:
    """Whether TorchServe's own log says that a worker of this version was read to its end."""
    worker = rf"W-\d+-{re.escape(f'{model}_{version}')}"
    ended = re.compile(rf"{_READ_TO_END} - ({worker})-(stdout|stderr)$")
    streams: dict[str, set[str]] = {}
    for line in log:
        if match := ended.search(line.rstrip("\n")):
            streams.setdefault(match[1], set()).add(match[2])
    return any(len(both) == 2 for both in streams.values())


def worker_error(lines: Sequence[WorkerLine]) -> WorkerError | None:
    """The last exception printed that is not a wrapper around another; None when none was printed.

    The streams and the processes of a worker interleave, so each is read on its own.
    """
    found = [
        (last, error)
        for source in _by_source(lines).values()
        for last, error in _tracebacks(source)
    ]
    found.sort(key=lambda pair: pair[0])
    own = [error for _, error in found if not _is_wrapper(error.exception)]
    if own:
        return own[-1]
    return found[-1][1] if found else None


def last_words(lines: Sequence[WorkerLine], count: int = 8) -> tuple[str, ...]:
    """The last lines a worker printed, for when no exception was among them."""
    return tuple(line.text for line in lines if line.text.strip())[-count:]


def _is_wrapper(exception: str) -> bool:
    return any(pattern.match(exception) for pattern in _WRAPPERS)


def _by_source(
    lines: Sequence[WorkerLine],
) -> dict[tuple[str, str, str], list[tuple[int, str]]]:
    sources: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for number, line in enumerate(lines):
        match = _PREFIX.match(line.text)
        process = match["process"] if match else ""
        text = line.text[match.end() :] if match else line.text
        sources.setdefault((line.worker, line.stream, process), []).append((number, text))
    return sources


def _tracebacks(source: list[tuple[int, str]]) -> Iterable[tuple[int, WorkerError]]:
    """Each traceback with the number of the line that names its exception."""
    frames: list[Frame] = []
    inside = False
    for place, (number, text) in enumerate(source):
        if text.strip() == _TRACEBACK:
            frames, inside = [], True
        elif not inside:
            continue
        elif match := _FRAME.fullmatch(text):
            frames.append(Frame(match["file"], int(match["line"]), match["function"], ""))
        elif text.startswith(" "):
            if frames and not frames[-1].code and set(text.strip()) - set("^~"):
                frames[-1] = _with_code(frames[-1], text.strip())
        elif _EXCEPTION.fullmatch(text):
            message = "\n".join([text, *_continued(source[place + 1 :])])
            yield number, WorkerError(message, _interesting(frames))
            inside = False


def _continued(source: list[tuple[int, str]]) -> Iterable[str]:
    """The further lines of an exception's message: pydantic and we indent them."""
    for _, text in source[:_MESSAGE_LINES]:
        if not text.startswith(" "):
            return
        yield text


def _with_code(frame: Frame, code: str) -> Frame:
    return Frame(frame.file, frame.line, frame.function, code)


def _interesting(frames: list[Frame]) -> tuple[Frame, ...]:
    """The last frames that are not Python's or the loader's own; at least the last of all."""
    shown = [frame for frame in frames if not _HIDDEN.search(frame.file)] or frames[-1:]
    return tuple(
        Frame(_ROOTS.sub("", frame.file), frame.line, frame.function, frame.code)
        for frame in shown[-_SHOWN_FRAMES:]
    )
