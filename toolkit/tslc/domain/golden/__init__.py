"""Golden prompts: requests a version must answer well before it gets traffic, and their judge."""

from tslc.domain.golden.judge import answer_texts, is_refusal, judge
from tslc.domain.golden.parse import parse_golden
from tslc.domain.golden.prompt import CHAT_PATH, COMPLETIONS_PATH, Expectation, GoldenPrompt

__all__ = [
    "CHAT_PATH",
    "COMPLETIONS_PATH",
    "Expectation",
    "GoldenPrompt",
    "answer_texts",
    "is_refusal",
    "judge",
    "parse_golden",
]
