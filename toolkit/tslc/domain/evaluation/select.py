"""Which prompts an evaluation asks: those of the archive and of datasets, each named once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tslc.domain.golden import GoldenPrompt


@dataclass(frozen=True)
class Prompts:
    """Of one source, such as `golden.jsonl`."""

    source: str
    prompts: Sequence[GoldenPrompt]


def dataset(sources: Iterable[Prompts]) -> tuple[GoldenPrompt, ...]:
    """All prompts in their order; a name that two sources use is told apart by its source."""
    listed = list(sources)
    names = [prompt.name for one in listed for prompt in one.prompts]
    twice = {name for name in names if names.count(name) > 1}
    return tuple(
        replace(prompt, name=f"{one.source}: {prompt.name}") if prompt.name in twice else prompt
        for one in listed
        for prompt in one.prompts
    )
