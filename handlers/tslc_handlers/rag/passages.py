"""What retrieval gives: passages, and why each of them.

The fusion is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): a passage's score
is the sum of 1 / (60 + rank) over the searches that found it, ranks counted from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

RRF_K = 60


@dataclass(frozen=True)
class Passage:
    """A chunk of a document. `number` is its place in the knowledge base: documents by path, then
    as they stand in the document. `id` is `<path>#<n>`."""

    number: int
    id: str
    document: str
    title: str
    text: str


@dataclass(frozen=True)
class Found:
    """What one search says of a passage: its rank (from 1) and the search's own score."""

    rank: int
    score: float


@dataclass(frozen=True)
class Hit:
    """A passage and why: its fused score, and what each search said of it."""

    passage: Passage
    score: float
    why: Mapping[str, Found] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """`text`: the last user turn; `before`: the user's turn before it, empty for none."""

    text: str
    before: str = ""


class Retriever(Protocol):
    """Searches are blocking; the handler runs them beside its event loop."""

    def search(self, query: Query, top_k: int) -> Sequence[Hit]:
        """The best passages, best first. Raises RetrievalFailed."""
        ...

    def close(self) -> None: ...


class RetrievalFailed(Exception):
    """The knowledge base could not be searched."""


def fuse(rankings: Mapping[str, Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Passage numbers with their fused scores, best first; equal scores by number.

    A ranking is a search's (number, score) pairs, best first.
    """
    scores: dict[int, float] = {}
    for ranking in rankings.values():
        for rank, (number, _) in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1.0 / (RRF_K + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def reasons(
    rankings: Mapping[str, Sequence[tuple[int, float]]], numbers: Iterable[int]
) -> dict[int, dict[str, Found]]:
    """For each passage number, what each search said of it."""
    wanted = set(numbers)
    why: dict[int, dict[str, Found]] = {number: {} for number in wanted}
    for name, ranking in rankings.items():
        for rank, (number, score) in enumerate(ranking, start=1):
            if number in wanted:
                why[number][name] = Found(rank, score)
    return why


def relevant(
    ranked: Sequence[tuple[int, float]],
    similarity: Mapping[int, float],
    by_words: Iterable[int],
    least: float,
) -> list[tuple[int, float]]:
    """Without the passages that share no word with the question and are not near it either."""
    worded = set(by_words)
    return [pair for pair in ranked if pair[0] in worded or similarity.get(pair[0], -1.0) >= least]
