"""What to do next while a version loads: wait, give up, or try its golden prompts.

Decides from what was seen of the workers; the loop around it looks and sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

# TorchServe's own default, in seconds.
DEFAULT_STARTUP_TIMEOUT = 120
# What unpacking, starting Python and the first probe take beside the load itself, in seconds.
MARGIN = 30.0


class Step(Enum):
    WAIT = "wait"
    TRY_PROMPTS = "try its golden prompts"
    GIVE_UP_DEAD = "a worker died"
    GIVE_UP_LATE = "the time is over"


@dataclass(frozen=True)
class Seen:
    """Of the version that loads: workers wanted, doors that say they are ready, a death."""

    wanted: int
    ready: int
    died: bool


def next_step(seen: Seen, seconds_left: float) -> Step:
    """A death counts even when other workers are ready: the version can't hold what it promises."""
    if seen.died:
        return Step.GIVE_UP_DEAD
    if seen.ready >= seen.wanted:
        return Step.TRY_PROMPTS
    return Step.WAIT if seconds_left > 0 else Step.GIVE_UP_LATE


@dataclass(frozen=True)
class LoadPlan:
    """What a model config says of loading: workers at the start, seconds one may take."""

    workers: int
    startup_seconds: float

    @property
    def deadline(self) -> float:
        return self.startup_seconds + MARGIN


def load_plan(model_config: Mapping[str, object]) -> LoadPlan:
    """Read as TorchServe does: `minWorkers` counts only when `maxWorkers` is not below it."""
    least, most = (_count(model_config.get(key)) for key in ("minWorkers", "maxWorkers"))
    workers = least if least and most >= least else 1
    return LoadPlan(workers, _count(model_config.get("startupTimeout")) or DEFAULT_STARTUP_TIMEOUT)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def served_name(model_config: Mapping[str, object], model: str) -> str:
    """What requests have to call the model: `handler.served_model_name`, else the model's name."""
    handler = model_config.get("handler")
    stated = handler.get("served_model_name") if isinstance(handler, Mapping) else None
    names = stated if isinstance(stated, list) else [stated]
    return next((name for name in names if isinstance(name, str) and name), model)
