"""Fusion and its reasons: laws of reciprocal rank fusion, and one case by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.rag.passages import RRF_K, fuse, reasons, relevant

NUMBERS = st.lists(st.integers(0, 30), unique=True, max_size=15)
RANKINGS = st.dictionaries(
    st.sampled_from(["words", "vector", "conversation"]),
    NUMBERS.map(lambda numbers: [(number, 1.0) for number in numbers]),
)


def test_a_passage_found_twice_comes_before_one_found_once() -> None:
    fused = fuse({"words": [(1, 9.0), (2, 8.0)], "vector": [(2, 0.9), (3, 0.8)]})
    assert [number for number, _ in fused] == [2, 1, 3]
    assert fused[0][1] == 1 / (RRF_K + 2) + 1 / (RRF_K + 1)


@given(RANKINGS)
def test_what_any_search_found_is_in_it_once_best_first(rankings) -> None:
    fused = fuse(rankings)
    numbers = [number for number, _ in fused]
    assert sorted(numbers) == sorted({n for one in rankings.values() for n, _ in one})
    assert fused == sorted(fused, key=lambda pair: (-pair[1], pair[0]))
    assert all(0 < score <= len(rankings) / (RRF_K + 1) for _, score in fused)


@given(RANKINGS, st.floats(0.1, 100))
def test_only_ranks_count_never_a_searchs_own_scores(rankings, factor) -> None:
    scaled = {k: [(n, s * factor) for n, s in v] for k, v in rankings.items()}
    assert fuse(scaled) == fuse(rankings)


@given(NUMBERS)
def test_a_single_ranking_keeps_its_order(numbers) -> None:
    assert [number for number, _ in fuse({"words": [(n, 1.0) for n in numbers]})] == numbers


@given(RANKINGS, st.integers(0, 30))
def test_one_more_search_that_finds_it_never_moves_a_passage_down(rankings, number) -> None:
    def place(of) -> int:
        order = [one for one, _ in fuse(of)]
        return order.index(number) if number in order else len(order)

    assert place({**rankings, "more": [(number, 1.0)]}) <= place(rankings)


def test_the_reasons_are_each_searchs_rank_and_score() -> None:
    why = reasons({"words": [(4, 2.5), (5, 1.0)], "vector": [(5, 0.7)]}, [5])
    assert {name: (found.rank, found.score) for name, found in why[5].items()} == {
        "words": (2, 1.0),
        "vector": (1, 0.7),
    }


def test_what_shares_no_word_and_is_not_near_is_left_out() -> None:
    ranked = [(1, 0.3), (2, 0.2), (3, 0.1)]
    assert relevant(ranked, {2: 0.5, 3: 0.1}, [1], 0.25) == [(1, 0.3), (2, 0.2)]
