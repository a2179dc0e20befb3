"""The guard: the demo model's first layers, frozen, and one layer above them that learns.

What the frozen layers make of a conversation is computed once. The prompt is the conversation
between a head and a tail that never change but for the word User or Agent: the head's keys and
values are computed once for all, and the states of the tail and of the answer, which hardly depend
on the conversation, are borrowed from some conversation with the same answer. So an example costs
its own text only. (The model that is saved and measured is the whole one, with nothing borrowed.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from guard_training.examples import Codes, Example
from tslc_handlers.guard.prompt import LLAMA_GUARD_3, Role, guard_prompt

FIRST_WORD = 2
"""Of an answer's tokens the one that decides: after two newlines."""
_LONGEST = 250
"""Tokens of a conversation that training reads: the last ones."""


@dataclass(frozen=True)
class Prompt:
    """A prompt's tokens: `head` and `tail` are the same for every conversation of a role."""

    role: Role
    text: tuple[int, ...]
    answer: tuple[int, ...]


class Guard:
    """`model` is whole; `head` and `tail` are the constant tokens around a conversation."""

    def __init__(self, folder: Path, frozen: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        self.frozen = frozen
        self._shorten()
        around = {role: self._around(role) for role in Role}
        self.head = {role: head for role, (head, _) in around.items()}
        self.tail = {role: tail for role, (_, tail) in around.items()}
        answers = (self.answer(()), self.answer(self.codes))
        self.words = sorted({token for one in answers for token in one})
        self._begun: dict[tuple[Role, int], DynamicCache] = {}

    @property
    def codes(self) -> Codes:
        return tuple(one.code for one in LLAMA_GUARD_3)

    def _shorten(self) -> None:
        """Keep the frozen layers and the one that learns; give the answer weights of its own."""
        config, inner = self.model.config, self.model.model
        inner.layers = inner.layers[: self.frozen + 1]
        config.num_hidden_layers = len(inner.layers)
        config.tie_word_embeddings = False
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: len(inner.layers)]
        self.model.lm_head.weight = torch.nn.Parameter(
            torch.zeros_like(inner.embed_tokens.weight), requires_grad=False
        )

    def answer(self, codes: Codes) -> tuple[int, ...]:
        text = "\n\nunsafe\n" + ",".join(codes) if codes else "\n\nsafe"
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return (*ids, self.tokenizer.eos_token_id)

    def ids(self, turns: Sequence[Any]) -> list[int]:
        prompt = guard_prompt(turns, LLAMA_GUARD_3)
        return list(self.tokenizer(prompt, add_special_tokens=False).input_ids)

    def _around(self, role: Role) -> tuple[list[int], list[int]]:
        """The tokens that a prompt begins and ends with, whatever is said."""
        from tslc_handlers.guard.prompt import Turn

        before = () if role is Role.USER else (Turn(Role.USER, "a"),)
        one, other = (self.ids((*before, Turn(role, text))) for text in ("Hi", "No, 1."))
        same = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        if role is Role.AGENT:
            bare = self.ids((Turn(role, "x"),))
            same = next(i for i, (a, b) in enumerate(zip(one, bare, strict=False)) if a != b)
        pairs = zip(reversed(one), reversed(other), strict=False)
        ends = next(i for i, (a, b) in enumerate(pairs) if a != b)
        return one[:same], one[len(one) - ends :]

    def prompt(self, example: Example) -> Prompt:
        role, ids = example.turns[-1].role, self.ids(example.turns)
        text = ids[len(self.head[role]) : len(ids) - len(self.tail[role])]
        return Prompt(role, tuple(text[-_LONGEST:]), self.answer(example.codes))

    def round(self) -> None:
        """To what bfloat16 can hold, so that what is measured is what is saved."""
        for one in self.model.parameters():
            one.data = one.data.to(torch.bfloat16).to(torch.float32)

    def save(self, folder: Path) -> None:
        self.model.to(torch.bfloat16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def head_cache(self, role: Role, rows: int, layers: int) -> DynamicCache:
        if (role, layers) not in self._begun:
            self._begun[role, layers] = DynamicCache()
            run(self.model, torch.tensor([self.head[role]]), self._begun[role, layers], layers)
        return repeated(self._begun[role, layers], rows)


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def part(cache: DynamicCache, row: int, size: int) -> DynamicCache:
    """One row's first places of a cache, to be written on."""
    one = DynamicCache()
    for number, layer in enumerate(cache.layers):
        keys, values = (all_[row : row + 1, :, :size] for all_ in (layer.keys, layer.values))
        one.update(keys, values, number)
    return one


def repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """The same cache for so many rows, to be written on."""
    many = DynamicCache()
    for number, layer in enumerate(cache.layers):
        keys, values = (one.expand(rows, -1, -1, -1) for one in (layer.keys, layer.values))
        many.update(keys, values, number)
    return many


def run(
    model: Any, ids: Tensor, cache: DynamicCache, layers: int, texts: Tensor | None = None
) -> Tensor:
    """States, not normed, of the first layers over tokens that follow what is in the cache.

    `texts`: the sizes of several texts in the one row; each follows the cache, none the other.
    """
    inner = model.model
    with torch.no_grad():
        states = inner.embed_tokens(ids)
        before, count = cache.get_seq_length(), ids.shape[1]
        places = torch.arange(before, before + count)[None]
        sees = torch.ones(count, before + count, dtype=torch.bool).tril(before)
        if texts is not None:
            owner = torch.repeat_interleave(texts)
            sees[:, before:] &= owner[:, None] == owner
            places = places - (texts.cumsum(0) - texts)[owner]
        turned = inner.rotary_emb(states, places)
        for layer in inner.layers[:layers]:
            states = layer(
                states,
                attention_mask=sees[None, None],
                position_embeddings=turned,
                past_key_values=cache,
                use_cache=True,
            )
        return states


def normed(states: Tensor, epsilon: float) -> Tensor:
    return states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + epsilon)
