"""How good retrieval is, by questions whose answers are known: recall@k and MRR.

recall@k: of a question's relevant documents or passages, the share among the first k results; the
mean over the questions. MRR (mean reciprocal rank): the mean of 1 / rank of the first relevant
result, 0 where none is among the first k. Source: Manning, Raghavan and Schütze, Introduction to
Information Retrieval, chapter 8.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tslc_handlers.rag.passages import Query, Retriever


@dataclass(frozen=True)
class Question:
    """`relevant`: paths of documents, or ids of passages (`path#n`), that answer `text`."""

    text: str
    relevant: tuple[str, ...]
    before: str = ""


def evaluate(
    retriever: Retriever, questions: Sequence[Question], top_k: int, known: Collection[str]
) -> dict[str, Any]:
    """The two figures and each question's results. `known`: the ids of all passages; what a
    question names beside them and their documents is told under `unknown`."""
    there = {*known, *(one.rpartition("#")[0] for one in known)}
    rows: list[dict[str, Any]] = []
    for question in questions:
        hits = retriever.search(Query(question.text, question.before), top_k)
        found = [(hit.passage.id, hit.passage.document) for hit in hits]
        ranks = {
            wanted: next((i for i, ids in enumerate(found, 1) if wanted in ids), None)
            for wanted in question.relevant
        }
        met = [rank for rank in ranks.values() if rank is not None]
        rows.append(
            {
                "question": question.text,
                "recall": len(met) / len(ranks) if ranks else 0.0,
                "reciprocal_rank": 1 / min(met) if met else 0.0,
                "found": [one for one, _ in found],
                "missed": [wanted for wanted, rank in ranks.items() if rank is None],
            }
        )
    count = max(len(rows), 1)
    return {
        "k": top_k,
        "questions": len(rows),
        "recall": sum(row["recall"] for row in rows) / count,
        "mrr": sum(row["reciprocal_rank"] for row in rows) / count,
        "unknown": sorted({w for q in questions for w in q.relevant} - there),
        "rows": rows,
    }
