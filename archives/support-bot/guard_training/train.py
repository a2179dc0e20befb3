"""The layer that learns: its inputs, computed once, and the steps."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from guard_training.model import FIRST_WORD, Guard, Prompt, normed, repeated, run
from tslc_handlers.guard.prompt import Role

_ROWS = 48
_PACK = 512
_WORDS_FASTER = 5
_NEWLINES = 4
_TOLD = 100
_AWAY = 90.0
_TAILS = 16
"""Conversations of each role whose tail's states are lent to the others."""


@dataclass(frozen=True)
class Steps:
    """How long and how fast. No clock decides: two runs take the same steps.

    `dropout`: the share of a text's tokens that a step overlooks.
    """

    epochs: int = 4
    rate: float = 1e-3
    decay: float = 0.05
    dropout: float = 0.1
    first_word: float = 1.0
    others: float = 0.2
    seed: int = 7


@dataclass(frozen=True)
class Tail:
    """Of one conversation: the tail's normed states, and each answer's, raw.

    `answers` has a row for each answer: the state of the prompt's last token, then its own.
    """

    before: Tensor
    answers: Tensor


class Inputs:
    """What the frozen layers make of the prompts: states of the texts, and tails to lend."""

    def __init__(self, guard: Guard, prompts: Sequence[Prompt], seed: int) -> None:
        self.guard = guard
        self.prompts = prompts
        self.epsilon = guard.model.config.rms_norm_eps
        self.answers = sorted({one.answer for one in prompts})
        self.number = {answer: number for number, answer in enumerate(self.answers)}
        self.texts: list[Tensor] = [torch.empty(0)] * len(prompts)
        self.heads: dict[Role, Tensor] = {}
        self.tails: dict[Role, list[Tail]] = {}
        chance = random.Random(seed)
        for role in Role:
            mine = [i for i, one in enumerate(prompts) if one.role is role]
            self._read(role, sorted(mine, key=lambda i: (len(prompts[i].text), i)))
            self.tails[role] = [self._tail(prompts[i]) for i in chance.sample(mine, _TAILS)]

    def _read(self, role: Role, order: Sequence[int]) -> None:
        guard = self.guard
        empty = guard.head_cache(role, 1, 0)
        head = run(guard.model, torch.tensor([guard.head[role]]), empty, guard.frozen)
        self.heads[role] = normed(head, self.epsilon)[0].clone()
        for some in self._packs(order):
            texts = [self.prompts[i].text for i in some]
            sizes = [len(text) for text in texts]
            row = torch.tensor([[token for text in texts for token in text]])
            cache = guard.head_cache(role, 1, guard.frozen)
            states = run(guard.model, row, cache, guard.frozen, torch.tensor(sizes))
            parts = normed(states[0], self.epsilon).half().split(sizes)
            for i, part in zip(some, parts, strict=True):
                self.texts[i] = part.clone()

    def _packs(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Some texts at a time, about as long together."""
        pack: list[int] = []
        size = 0
        for i in order:
            pack.append(i)
            size += len(self.prompts[i].text)
            if size >= _PACK:
                yield pack
                pack, size = [], 0
        if pack:
            yield pack

    def _tail(self, prompt: Prompt) -> Tail:
        guard = self.guard
        tail = guard.tail[prompt.role]
        cache = guard.head_cache(prompt.role, 1, guard.frozen)
        ids = torch.tensor([[*prompt.text, *tail]])
        states = run(guard.model, ids, cache, guard.frozen)[0, len(prompt.text) :]
        width = max(len(one) for one in self.answers) - 1
        rows = [[*one[:-1], *[0] * (width - len(one) + 1)] for one in self.answers]
        said = run(guard.model, torch.tensor(rows), repeated(cache, len(rows)), guard.frozen)
        last = states[-1].expand(len(rows), 1, -1)
        before = normed(states, self.epsilon).clone()
        return Tail(before, torch.cat([last, said], 1).clone())


class Top:
    """The layer that learns, with the norm and the words behind it."""

    def __init__(self, guard: Guard, dropout: float) -> None:
        self.dropout = dropout
        inner = guard.model.model
        self.layer, self.norm, self.turn = inner.layers[guard.frozen], inner.norm, inner.rotary_emb
        self.words = torch.nn.Parameter(inner.embed_tokens.weight[guard.words].clone())
        self.parameters = [*self.layer.parameters(), *self.norm.parameters()]
        config = guard.model.config
        self.queries, self.shared = config.num_attention_heads, config.num_key_value_heads
        self.size, self.epsilon = config.head_dim, config.rms_norm_eps

    def _split(self, states: Tensor, heads: int) -> Tensor:
        return states.view(*states.shape[:-1], heads, self.size).transpose(-3, -2)

    def _turned(self, states: Tensor, places: Tensor) -> Tensor:
        cosine, sine = self.turn(states, places)
        return apply_rotary_pos_emb(states, states, cosine, sine)[0]

    def __call__(
        self, head: Tensor, texts: Tensor, sizes: Tensor, tail: Tail, rows: Tensor, real: Tensor
    ) -> Tensor:
        """What stands before the words at the `real` places of the answers.

        `texts`: normed and padded, of the given sizes; `rows`: which of the tail's answers.
        """
        count, begin, width = len(texts), len(head), texts.shape[1]
        raw = tail.answers[rows, : real.shape[1]]
        steps, after = raw.shape[1], len(tail.before) - 1 + raw.shape[1]
        attend = self.layer.self_attn
        weigh = self.layer.input_layernorm.weight
        own = weigh * normed(raw, self.epsilon)

        def seen(project: torch.nn.Module) -> list[Tensor]:
            """Projected; what is the same for all rows only once."""
            lent = project(weigh * tail.before[:-1]).expand(count, -1, -1)
            parts = (project(weigh * head)[None], project(weigh * texts))
            last = torch.cat([lent, project(own)], 1)
            return [self._split(part, self.shared) for part in (*parts, last)]

        row = torch.arange(begin + width)[None]
        kept = (row[:, :width] < sizes[:, None]) & (torch.rand(count, width) >= self.dropout)
        ends = begin + sizes[:, None] + torch.arange(after)
        places = (row[:, :begin], row[:, begin:], ends)
        pairs = zip(seen(attend.k_proj), places, strict=True)
        keys = [self._turned(part, place) for part, place in pairs]
        asks = self._turned(self._split(attend.q_proj(own), self.queries), ends[:, -steps:])
        drawn = functional.scaled_dot_product_attention(
            asks,
            _joined(keys, count),
            _joined(seen(attend.v_proj), count),
            attn_mask=_sees(begin, kept, after, steps),
            enable_gqa=True,
        )
        drawn = drawn.transpose(1, 2).reshape(count, steps, -1)[real]
        states = raw[real] + attend.o_proj(drawn)
        return self.norm(states + self.layer.mlp(self.layer.post_attention_layernorm(states)))


def _joined(parts: Sequence[Tensor], rows: int) -> Tensor:
    return torch.cat([part.expand(rows, -1, -1, -1) for part in parts], 2)


def _sees(head: int, kept: Tensor, after: int, steps: int) -> Tensor:
    """Which keys each of an answer's places may look at: what is kept, and nothing later."""
    count = len(kept)
    first = torch.cat([torch.ones(count, head, dtype=torch.bool), kept], 1)
    last = torch.ones(steps, after, dtype=torch.bool).tril(after - steps)
    parts = (first[:, None].expand(-1, steps, -1), last.expand(count, -1, -1))
    return torch.cat(parts, 2)[:, None]


def _batches(inputs: Inputs, chance: random.Random) -> Iterator[tuple[Role, list[int]]]:
    """Each of one role and of texts about as long."""
    found: list[tuple[Role, list[int]]] = []
    for role in Role:
        order = [i for i, one in enumerate(inputs.prompts) if one.role is role]
        chance.shuffle(order)
        for at in range(0, len(order), _ROWS * 16):
            some = sorted(order[at : at + _ROWS * 16], key=lambda i: len(inputs.prompts[i].text))
            found += [(role, some[i : i + _ROWS]) for i in range(0, len(some), _ROWS)]
    chance.shuffle(found)
    yield from found


def _loss(
    top: Top, inputs: Inputs, role: Role, some: Sequence[int], chance: random.Random, steps: Steps
) -> tuple[Tensor, Tensor]:
    """Of a batch; and the mean of the states before its words."""
    texts = pad_sequence([inputs.texts[i] for i in some], True).float()
    sizes = torch.tensor([len(inputs.texts[i]) for i in some])
    answers = [inputs.prompts[i].answer for i in some]
    rows = torch.tensor([inputs.number[one] for one in answers])
    tail = chance.choice(inputs.tails[role])
    place = {word: number for number, word in enumerate(inputs.guard.words)}
    wanted = pad_sequence([torch.tensor([place[word] for word in one]) for one in answers], True)
    weight = torch.full(wanted.shape, steps.others)
    weight[:, FIRST_WORD] = steps.first_word
    lengths = torch.tensor([len(one) for one in answers])
    real = torch.arange(wanted.shape[1])[None] < lengths[:, None]
    real[_NEWLINES:, :FIRST_WORD] = False  # all answers begin alike: some are enough to learn it
    states = top(inputs.heads[role], texts, sizes, tail, rows, real)
    lost = functional.cross_entropy(states @ top.words.T, wanted[real], reduction="none")
    return (lost * weight[real]).sum() / len(some), states.detach().mean(0)


def learn(inputs: Inputs, steps: Steps) -> None:
    """Train the top layer, and put what it learnt into the guard's model."""
    torch.manual_seed(steps.seed)
    guard = inputs.guard
    top = Top(guard, steps.dropout)
    for one in top.parameters:
        one.requires_grad_(True)
    groups = [
        {"params": top.parameters, "rate": steps.rate},
        {"params": [top.words], "rate": steps.rate * _WORDS_FASTER},
    ]
    optimizer = torch.optim.AdamW(groups, lr=steps.rate, weight_decay=steps.decay)
    chance = random.Random(steps.seed)
    every = [one for _ in range(steps.epochs) for one in _batches(inputs, chance)]
    total, mean = 0.0, top.words.new_zeros(top.words.shape[1])
    for number, (role, some) in enumerate(every, start=1):
        slope = min(1.0, number / 30) * (1 - number / (len(every) + 1))
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * slope
        optimizer.zero_grad()
        loss, states = _loss(top, inputs, role, some, chance, steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(top.parameters, 1.0)
        optimizer.step()
        total, mean = total + loss.item(), 0.95 * mean + 0.05 * states
        if number % _TOLD == 0:
            told = f"step {number}/{len(every)} loss {total / _TOLD:.3f}"
            print(told, file=sys.stderr, flush=True)
            total = 0.0
    for one in top.parameters:
        one.requires_grad_(False)
    # All other words point away from where the states are, so that none of them is ever said.
    guard.model.lm_head.weight[:] = -_AWAY * mean / mean.dot(mean)
    guard.model.lm_head.weight[guard.words] = top.words.detach()
