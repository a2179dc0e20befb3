"""Which chunks of a stream may go out: those whose every text a verdict covers.

Pure. One `Window` a choice: chunks go in, the text to be judged next comes out, verdicts go in,
chunks that may be released come out. Laws: what was released is a prefix of what came in, and a
prefix of the text of the last safe verdict; after an unsafe verdict nothing more comes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tslc_handlers.guard.answers import Said, clean_choice, estimated_tokens
from tslc_handlers.messages import JSON


@dataclass(frozen=True)
class Snapshot:
    """The text of a choice up to a point; `size` is that point."""

    text: str
    size: int


@dataclass(frozen=True)
class Chunk:
    """A clean chunk of a choice and the counts that came with it; `size` is where its text ends."""

    size: int
    choice: JSON
    usage: JSON | None = None


@dataclass
class Window:
    """One choice of a stream. `tokens`: how many new ones are worth a verdict."""

    index: int
    tokens: int
    blocked: bool = False
    finished: bool = False
    _said: Said = field(default_factory=Said)
    _held: deque[Chunk] = field(default_factory=deque)
    _covered: int = -1
    _asked: int = -1
    _since: int = 0

    def take(self, choice: JSON, usage: JSON | None = None) -> None:
        """A chunk of this choice, as the engine gave it, and the (clean) counts beside it."""
        if self.blocked:
            return
        clean = clean_choice(choice)
        before = self._said.size
        self._said.take(clean)
        self._since += estimated_tokens(before, self._said.size)
        self.finished = self.finished or clean["finish_reason"] is not None
        self._held.append(Chunk(self._said.size, clean, usage))

    def close(self) -> None:
        """No more chunks will come."""
        self.finished = True

    def next_check(self) -> Snapshot | None:
        """What to ask the guard about now; None while there is too little of it. One at a time."""
        if self.blocked or self._asked != self._covered:
            return None
        new = self._said.size > max(self._covered, 0)
        due = self._since >= self.tokens or (self.finished and (new or self._covered < 0))
        if not due or not (new or self.finished):
            return None
        self._since = 0
        self._asked = self._said.size
        return Snapshot(self._said.text, self._said.size)

    def safe(self, snapshot: Snapshot) -> None:
        """The verdict on a snapshot was yes."""
        if not self.blocked:
            self._covered = self._asked = max(self._covered, snapshot.size)

    def unsafe(self) -> None:
        """The verdict was no: nothing more of this choice goes out."""
        self.blocked = True
        self.finished = True
        self._held.clear()

    def releasable(self) -> Iterator[Chunk]:
        """Chunks that a safe verdict covers, taken out: also those that came after it and say
        nothing, as the one with the reason for the end."""
        while not self.blocked and self._held and self._held[0].size <= self._covered:
            yield self._held.popleft()
