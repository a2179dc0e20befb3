"""`rag:` and `guard:` in archive.yaml, and how they go with the handler."""

from __future__ import annotations

import pytest

from tslc.domain.archive_contents import part_mistakes
from tslc.domain.archive_sections import RagSpec
from tslc.domain.archive_spec import LocalWeights, draft_spec
from tslc.domain.config_document import read_document

GOOD = "model: m\nmodel_config: c.yaml\nweights: w\ngolden: g.jsonl\n"


def drafted(said, handler="rag"):
    return draft_spec(f"{GOOD}handler: {handler}\n{said}", {"G": "/guard"})


def told(draft):
    return "\n".join(map(str, draft.mistakes))


def parts(said, handler, config="handler: {}\n"):
    draft = drafted(said, handler)
    assert draft.mistakes == ()
    return "\n".join(map(str, part_mistakes(draft.spec, read_document(config))))


def test_a_section_says_what_it_says() -> None:
    draft = drafted("rag:\n  knowledge: kb\n  chunk_characters: 500\nguard: {model: '${G}'}\n")
    assert draft.mistakes == ()
    assert draft.spec.rag == RagSpec(("kb",), 500, 120, "all-MiniLM-L6-v2")
    assert draft.spec.guard == LocalWeights("/guard")


def test_every_mistake_of_both_sections_is_told_at_once() -> None:
    draft = drafted(
        "rag: {knowlege: [kb], chunk_characters: ten, overlap_characters: -1, embedding: 5}\n"
        "guard: {modle: x, threshold: 0.3}\n"
    )
    for said in (
        "knowlege",
        "write `knowledge: [FOLDER]`",
        "chunk_characters: 'ten' is none",
        "overlap_characters: -1 is none",
        "embedding: 5 is not a text",
        "modle",
        "handler.guard.threshold",
    ):
        assert said in told(draft), said
    assert "write 'knowledge'" in told(draft) and "write 'model'" in told(draft)
    assert all(one.line in (6, 7) for one in draft.mistakes)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("rag: kb", "not a mapping"),
        ("rag: {}", "not a mapping"),
        ("rag: null", "not a mapping"),
        ("rag: {knowledge: []}", "names no files or folders"),
        ("rag: {knowledge: [kb, 5]}", "names no files or folders"),
        ("rag: {knowledge: kb, chunk_characters: true}", "True is none"),
        ("rag: {knowledge: kb, chunk_characters: 100}", "over half of chunk_characters"),
        ("rag: {knowledge: a, knowledge: b}", "said twice"),
        ("guard: x", "not a mapping"),
        ("guard: {model: 5}", "5 names no weights"),
        ("guard: {model: '${NONE}'}", "the environment has no NONE"),
        ("guard: {model: 'hf:x'}", "names no repository and revision"),
    ],
)
def test_a_section_that_is_none_is_a_mistake(section, said) -> None:
    assert said in told(drafted(section + "\n"))


RAG, GUARD = "rag: {knowledge: kb}\n", "guard: {model: g}\n"


@pytest.mark.parametrize(
    ("sections", "handler", "said"),
    [
        ("", "rag", "answers from a knowledge base; none is named"),
        ("", "guard", "needs a guard model; none is named"),
        (RAG, "vllm", "write `handler: rag`"),
        (GUARD, "vllm", "write `handler: guard`"),
        (RAG + GUARD, "vllm", "write `handler: rag-guard`"),
        (RAG + GUARD, "rag", "write `handler: rag-guard`"),
        (RAG + GUARD, "guard", "write `handler: rag-guard`"),
    ],
)
def test_a_part_without_its_handler_and_a_handler_without_its_part_are_mistakes(
    sections, handler, said
) -> None:
    assert said in parts(sections, handler)


@pytest.mark.parametrize(
    ("sections", "handler"),
    [
        ("", "vllm"),
        (RAG, "rag"),
        (GUARD, "guard"),
        (RAG + GUARD, "rag-guard"),
        (RAG + GUARD, "mine.py"),
        ("", "mine.py"),
    ],
)
def test_what_goes_together_is_no_mistake(sections, handler) -> None:
    assert parts(sections, handler) == ""


def test_a_guard_may_be_an_endpoint_but_not_both() -> None:
    url = "handler: {guard: {url: 'http://guard/v1'}}\n"
    assert parts("", "guard", url) == ""
    assert "handler.guard.url names a guard too" in parts(GUARD, "guard", url)
