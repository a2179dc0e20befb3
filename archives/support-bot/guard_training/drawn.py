"""What training draws its examples from, one kind after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guard_training import packaged, prose, written
from guard_training.examples import (
    SAFE,
    Builder,
    Codes,
    Example,
    agent,
    asked,
    begun,
    cut,
    refusal,
    unlike,
    user,
)
from guard_training.hazards import TOPICS, hazards
from tslc_handlers.guard.prompt import Role

Deed = Callable[[str], tuple[Codes, str]]
"""Of a line: the hazards, and what is done."""


def requests(build: Builder, found: dict[str, list[str]]) -> None:
    """Harmful requests of users, and the answers and the refusals that follow them."""
    chance = build.chance
    for source, texts in found.items():
        build.made += [user(text, hazards(text), source) for text in texts]
    for text in found["AdvBench"]:
        answer = cut(begun(text, chance), chance, 9)
        build.made.append(agent(text, answer, hazards(text), "AdvBench begun", text))
    for text in build.pick([text for texts in found.values() for text in texts], 450):
        build.made.append(agent(text, refusal(text, chance), SAFE, "refusals", text))


def _deeds(
    build: Builder, lines: Sequence[str], deed: Deed, counts: tuple[int, int], least: int
) -> None:
    """How something is asked for, and how its explanation begins (`least` words of it)."""
    chance = build.chance

    def request(line: str) -> Example:
        codes, what = deed(line)
        return user(asked(what, chance), codes, "written deeds", line)

    def answer(line: str) -> Example:
        codes, what = deed(line)
        text = cut(begun(what, chance), chance, least)
        if chance.random() < 0.3:
            return user(text, codes, "written deeds begun", line)
        question = asked(what, chance) if chance.random() < 0.6 else ""
        return agent(question, text, codes, "written deeds begun", line)

    build.times(lines, counts[0], request)
    build.times(lines, counts[1], answer)


def deeds(build: Builder) -> None:
    """By our own lines: harmful ones, their refusals, and harmless ones in the same words."""
    chance = build.chance

    def unsafe(line: str) -> tuple[Codes, str]:
        codes, what = written.unsafe_deed(line)
        return codes, written.filled(what, chance)

    def safe(line: str) -> tuple[Codes, str]:
        return SAFE, written.filled(line, chance)

    def refused(line: str) -> Example:
        what = unsafe(line)[1]
        return agent(asked(what, chance), refusal(what, chance), SAFE, "refusals", line)

    harmful = written.lines("do_unsafe")
    _deeds(build, harmful, unsafe, (850, 600), 11)
    build.times(harmful, 450, refused)
    _deeds(build, written.lines("do_safe"), safe, (1100, 700), 3)


def talk(build: Builder) -> None:
    """What harmless users say and what they are answered, by our own lines."""
    chance = build.chance

    def order(line: str) -> Example:
        return user(written.filled(line, chance), SAFE, "written orders", line)

    def say(line: str) -> Example:
        return user(written.filled(written.said(line)[0], chance), SAFE, "written talk", line)

    def reply(line: str) -> Example:
        question, text = written.said(written.filled(line, chance))
        return agent(question, cut(text, chance, 2), SAFE, "written talk", line)

    build.times(written.lines("orders"), 1100, order)
    build.times(written.lines("said"), 900, say)
    build.times([line for line in written.lines("said") if written.said(line)[1]], 400, reply)
    build.times(written.lines("answers"), 900, reply)


def passages(build: Builder) -> None:
    """Of our own manuals, alone and as pages."""
    chance = build.chance

    def passage(line: str) -> Example:
        return user(written.filled(line, chance), SAFE, "written passages", line)

    def quoted(line: str) -> Example:
        text = cut(written.filled(line, chance), chance, 4)
        return agent("What do the documents say?", text, SAFE, "written passages", line)

    def page(line: str) -> Example:
        others = chance.sample(written.lines("passages"), chance.randint(1, 4))
        text = "\n\n".join(written.filled(one, chance) for one in (line, *others))
        title = written.filled("# The {lamp}, the {bike}\n\n", chance)
        return user((title + text)[:800], SAFE, "written passages", line)

    build.times(written.lines("passages"), 350, passage)
    build.times(written.lines("passages"), 140, quoted)
    build.times(written.lines("passages"), 140, page)


def others_prose(build: Builder, packages: Sequence[str]) -> None:
    """Of documentation, of novels, and claims."""
    chance = build.chance
    for source, texts, count in (
        ("language reference", prose.language_reference(), 250),
        ("standard library", prose.standard_library(), 250),
        ("descriptions", prose.descriptions(packages), 350),
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


def answered(build: Builder, measured: Sequence[str]) -> None:
    """Answers that were judged: by people (PyRIT's scores) or by a model (its dialogues).

    None to requests like those that are `measured`.
    """
    judged: list[tuple[str, str, Codes, str]] = []
    known = {question for question, *_ in packaged.scored("objective")}
    for question, text, score, topic in packaged.scored("harm"):
        if question not in known and score <= packaged.SAFE_TO:
            judged.append((question, text, SAFE, "PyRIT harm"))
        elif question not in known and score >= packaged.UNSAFE_FROM and topic in TOPICS:
            judged.append((question, text, (TOPICS[topic],), "PyRIT harm"))
    for question, text, harmful in packaged.dialogues():
        if unlike([question], measured):
            codes = hazards(question) if harmful else SAFE
            judged.append((question, text, codes, "PyRIT dialogues"))
    for question, text, codes, source in judged:
        for part in dict.fromkeys(cut(text[:800], build.chance, 15, 0.7) for _ in range(2)):
            build.made.append(agent(question[:300], part, codes, source, question))


def strayed(build: Builder, count: int) -> None:
    """Answers that have nothing to do with their harmless questions: what is said counts."""
    chance = build.chance
    told = [one for one in build.made if one.turns[-1].role is Role.AGENT]
    questions = [
        one.turns[0].text
        for one in build.made
        if not one.codes and len(one.turns) == 1 and len(one.turns[0].text) < 120
    ]
    unsafe = [one for one in told if one.codes]
    safe = [one for one in told if not one.codes]
    for number in range(count):
        one = chance.choice(unsafe if number % 2 else safe)
        text = one.turns[-1].text
        build.made.append(agent(chance.choice(questions), text, one.codes, "strayed", one.group))


def longer(build: Builder, count: int) -> None:
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
