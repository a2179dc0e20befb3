"""`handler.rag`: every mistake at once, and the keys the linter knows."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tslc.domain.annotations import choices
from tslc.domain.config_keys import GUARD, RAG, RETRIEVER
from tslc_handlers.config import ConfigError
from tslc_handlers.guard.policy import GuardPolicy
from tslc_handlers.rag.settings import RETRIEVERS, RagSettings


def test_the_linters_keys_are_those_the_handler_reads() -> None:
    assert set(RAG) == {one.name for one in fields(RagSettings)}


def test_the_linters_retrievers_and_their_keys_are_the_handlers() -> None:
    assert choices(RETRIEVER["type"].annotation) == tuple(RETRIEVERS)
    assert set(RETRIEVER) == {"type", *(key for keys in RETRIEVERS.values() for key in keys)}


def test_the_linters_keys_of_the_guard_are_those_the_handler_reads() -> None:
    # A category's own threshold stands with the category.
    assert set(GUARD) == {one.name for one in fields(GuardPolicy)} - {"thresholds"}


@pytest.mark.parametrize("key", [k for k, v in RAG.items() if v.least is not None])
def test_the_linters_bounds_are_the_handlers(key) -> None:
    least, most = RAG[key].least, RAG[key].most
    assert RagSettings.parse({key: least})
    with pytest.raises(ConfigError):
        RagSettings.parse({key: least - 1})
    if most is not None and most < 2**31 - 1:
        assert RagSettings.parse({key: most})
        with pytest.raises(ConfigError):
            RagSettings.parse({key: most + 1})


def test_nothing_said_is_the_default_and_null_leaves_it() -> None:
    assert RagSettings.parse({}) == RagSettings.parse(dict.fromkeys(RAG)) == RagSettings()


def test_every_mistake_is_told_at_once_with_the_nearest_key() -> None:
    section = {
        "topk": 3,
        "candidates": 0,
        "token_budget": "many",
        "answer_tokens": True,
        "min_similarity": float("nan"),
        "instructions": 5,
        "retriever": {"type": "pgvectr"},
    }
    with pytest.raises(ConfigError) as caught:
        RagSettings.parse(section)
    told = str(caught.value)
    for said in (
        "handler.rag.topk is not a known key",
        "top_k",
        "handler.rag.candidates is 0: write 1 to 10000",
        "handler.rag.token_budget must be a number, not str",
        "handler.rag.answer_tokens must be a number, not bool",
        "handler.rag.min_similarity is nan",
        "handler.rag.instructions must be a text",
        "handler.rag.retriever.type is 'pgvectr'",
        "pgvector",
    ):
        assert said in told, said


@pytest.mark.parametrize(
    ("retriever", "said"),
    [
        ("local", "must be a mapping"),
        ({}, "type is None"),
        ({"type": "local", "table": "x"}, "retriever.table is not a known key"),
        ({"type": "pgvector"}, "dsn_env names the variable"),
        ({"type": "pgvector", "dsn_env": 5}, "dsn_env must be a text"),
        ({"type": "pgvector", "dsn": "x"}, "retriever.dsn is not a known key"),
    ],
)
def test_a_retriever_that_is_none_is_a_mistake(retriever, said) -> None:
    with pytest.raises(ConfigError, match=said):
        RagSettings.parse({"retriever": retriever})
