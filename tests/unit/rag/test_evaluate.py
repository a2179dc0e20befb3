"""Recall and MRR, against figures computed by hand."""

from __future__ import annotations

from tslc_handlers.rag.evaluate import Question, evaluate
from tslc_handlers.rag.passages import Hit, Passage

ORDER = ("a.md#1", "b.md#1", "a.md#2", "c.md#1")


class Fixed:
    """Finds always the same, in order."""

    def search(self, query, top_k):
        hits = [Hit(Passage(i, name, name[:4], "", ""), 1.0) for i, name in enumerate(ORDER)]
        return hits[:top_k]

    def close(self) -> None: ...


def figures(*relevant: tuple[str, ...], k: int = 3):
    questions = [Question(f"q{i}", wanted) for i, wanted in enumerate(relevant)]
    return evaluate(Fixed(), questions, k, ORDER)


def test_recall_is_the_share_of_the_relevant_among_the_first_k() -> None:
    # 1/1, 1/2 and 0/1: the mean is 0.5.
    told = figures(("a.md",), ("b.md", "c.md"), ("c.md",))
    assert [row["recall"] for row in told["rows"]] == [1.0, 0.5, 0.0]
    assert told["recall"] == 0.5


def test_mrr_is_the_mean_of_one_by_the_first_relevant_rank() -> None:
    # Ranks 1, 2, 3 and none: (1 + 1/2 + 1/3 + 0) / 4.
    told = figures(("a.md",), ("c.md", "b.md"), ("a.md#2",), ("c.md",))
    assert told["mrr"] == (1 + 1 / 2 + 1 / 3) / 4


def test_a_document_counts_once_however_many_of_its_passages_are_found() -> None:
    assert figures(("a.md", "a.md"))["recall"] == 1.0


def test_what_was_missed_and_what_is_unknown_are_told() -> None:
    told = figures(("c.md", "d.md", "a.md#9"))
    assert told["rows"][0]["missed"] == ["c.md", "d.md", "a.md#9"]
    assert told["unknown"] == ["a.md#9", "d.md"]
    assert (told["k"], told["questions"]) == (3, 1)
