"""What the trained guard says of conversations, asked as an engine would ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from guard_training.examples import Codes
from guard_training.model import Guard, run
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.reading import read_codes

THRESHOLD = 0.5
_ROWS = 24
_CODE_TOKENS = 12


@dataclass(frozen=True)
class Said:
    """`score`: the probability of "unsafe" out of the two words."""

    score: float
    codes: Codes

    @property
    def unsafe(self) -> bool:
        return self.score >= THRESHOLD


class Scorer:
    """Asks the whole model; only the head's keys and values are kept from one to the next."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        safe, unsafe = guard.answer(()), guard.answer(guard.codes[:1])
        self._words = [safe[2], unsafe[2]]
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
        states = self.guard.after_head(role, rows, layers)
        last = torch.stack([one[len(row) - 1] for one, row in zip(states, rows, strict=True)])
        scores = self._logits(last).softmax(-1)[:, self._words]
        shares = (scores[:, 1] / scores.sum(-1)).tolist()
        return [
            Said(share, self._codes(role, row) if share >= THRESHOLD else ())
            for share, row in zip(shares, rows, strict=True)
        ]

    def _codes(self, role: Role, row: Sequence[int]) -> Codes:
        """What it writes after "unsafe", word by word."""
        layers = self.guard.frozen + 1
        cache: DynamicCache = self.guard.head_cache(role, 1, layers)
        new, written = [*row, *self._named], []
        for _ in range(_CODE_TOKENS):
            states = run(self.guard.model, torch.tensor([new]), cache, layers)
            word = int(self._logits(states[:, -1])[0].argmax())
            if word == self.guard.tokenizer.eos_token_id:
                break
            written.append(word)
            new = [word]
        return read_codes((), self.guard.tokenizer.decode(written), _CODE_TOKENS)[0]
