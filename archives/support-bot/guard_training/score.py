"""What the trained guard says of conversations, asked as an engine would ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from guard_training.examples import Codes
from guard_training.model import Guard, padded, part, run
from tslc_handlers.guard.model import CODE_TOKENS
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.reading import read_codes

THRESHOLD = 0.5
_ROWS = 24


@dataclass(frozen=True)
class Said:
    """`score`: the probability of "unsafe" out of the two words."""

    score: float
    codes: Codes

    @property
    def unsafe(self) -> bool:
        return self.score >= THRESHOLD


class Scorer:
    """Asks the whole model; only the head's keys and values are kept from one to the next.

    `least`: what the two words had of the probability, where they had least of it.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        safe, unsafe = guard.answer(()), guard.answer(guard.codes[:1])
        self._words = [safe[2], unsafe[2]]
        self._told = guard.model.lm_head.weight[guard.words]
        self.least = 1.0
        self._newlines, self._named = list(safe[:2]), list(unsafe[2:5])

    def say(self, conversations: Sequence[Sequence[Turn]]) -> list[Said]:
        found: dict[int, Said] = {}
        for role in Role:
            before = len(self.guard.head[role])
            rows = {
                i: [*self.guard.ids(turns)[before:], *self._newlines]
                for i, turns in enumerate(conversations)
                if turns[-1].role is role
            }
            order = sorted(rows, key=lambda i: (len(rows[i]), i))
            for at in range(0, len(order), _ROWS):
                some = order[at : at + _ROWS]
                said = self._ask(role, [rows[i] for i in some])
                found |= dict(zip(some, said, strict=True))
        return [found[i] for i in range(len(conversations))]

    def _logits(self, states: Tensor) -> Tensor:
        model = self.guard.model
        with torch.no_grad():
            return model.lm_head(model.model.norm(states))

    def _ask(self, role: Role, rows: Sequence[Sequence[int]]) -> list[Said]:
        layers = self.guard.frozen + 1
        cache = self.guard.head_cache(role, len(rows), layers)
        states = run(self.guard.model, padded(rows), cache, layers)
        last = torch.stack([one[len(row) - 1] for one, row in zip(states, rows, strict=True)])
        scores = self._logits(last).softmax(-1)[:, self._words]
        self.least = min(self.least, float(scores.sum(-1).min()))
        shares = (scores[:, 1] / scores.sum(-1)).tolist()
        before = len(self.guard.head[role])
        found = []
        for i, (share, row) in enumerate(zip(shares, rows, strict=True)):
            asked = share >= THRESHOLD
            codes = self._codes(part(cache, i, before + len(row))) if asked else ()
            found.append(Said(share, codes))
        return found

    def _codes(self, cache: DynamicCache) -> Codes:
        """What it writes after "unsafe", word by word."""
        new, written = self._named, list[int]()
        for _ in range(CODE_TOKENS):
            states = run(self.guard.model, torch.tensor([new]), cache, self.guard.frozen + 1)
            with torch.no_grad():
                likely = self._told @ self.guard.model.model.norm(states[0, -1])
            word = self.guard.words[int(likely.argmax())]
            if word == self.guard.tokenizer.eos_token_id:
                break
            written.append(word)
            new = [word]
        return read_codes((), self.guard.tokenizer.decode(written), CODE_TOKENS)[0]
