"""How passages stand in a prompt, so that vLLM's prefix cache keeps working.

What is the same for everybody (the system prompt) comes first and is never touched; the passages
go to the front of the last user turn, in the order of the knowledge base, whatever their scores. So
two questions that find the same passages share everything up to the question, and a conversation
keeps what was cached of its earlier turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tslc_handlers.messages import JSON
from tslc_handlers.rag.passages import Hit, Query

# What chat templates mark turns with: in a passage it would end the quotation and begin a turn of
# somebody else's.
_CONTROL = re.compile(
    r"<[|｜][^|｜<>\s]{1,64}[|｜]>"
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|</?think>|</?tool_(?:call|response)s?>"
    r"|\[/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|THINK)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
_OURS = re.compile(r"</?passages?\b[^>]*>", re.IGNORECASE)
MAX_QUERY = 2000
"""Characters of a turn that are searched for: of a longer one its beginning and its end, where
people say what they want. What they pasted between would cost seconds and say little."""


def query_of(messages: Any) -> Query | None:
    """What to search for: the last user turn, with the one before it; None when there is none."""
    if not isinstance(messages, list):
        return None
    if not messages or not all(isinstance(one, dict) for one in messages):
        return None
    said = [text_of(one.get("content")) for one in messages if one.get("role") == "user"]
    if not said or not said[-1].strip() or messages[-1].get("role") == "assistant":
        return None
    return Query(_searched(said[-1]), _searched(said[-2]) if len(said) > 1 else "")


def _searched(text: str) -> str:
    """Without what no search can take: halves of surrogate pairs and NUL."""
    if len(text) > MAX_QUERY:
        text = f"{text[: MAX_QUERY // 2]}\n{text[-MAX_QUERY // 2 :]}"
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def text_of(content: Any) -> str:
    """The text of a message's content; parts of other kinds are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (one.get("text") for one in parts if isinstance(one, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def quoted(text: str) -> str:
    """A passage that can't be taken for anything but a quotation by a chat template or by us."""
    # A blank in its place: what stood around it must not become another one.
    return _OURS.sub(" ", _CONTROL.sub(" ", text))


def passage_text(hit: Hit) -> str:
    """One passage as it stands in the prompt."""
    title = quoted(hit.passage.title).replace('"', "'").replace("\n", " ")
    return f'<passage title="{title}">\n{quoted(hit.passage.text).strip()}\n</passage>\n'


def frame(instructions: str, block: str = "") -> str:
    """What comes before the user's text: the passages' own texts, and what is around them."""
    return f"{instructions}\n\n<passages>\n{block}</passages>\n\n"


def with_passages(messages: Sequence[JSON], hits: Iterable[Hit], instructions: str) -> list[JSON]:
    """The messages with the passages before the last user turn's text."""
    ordered = sorted(hits, key=lambda hit: hit.passage.number)
    if not ordered:
        return list(messages)
    head = frame(instructions, "".join(passage_text(hit) for hit in ordered))
    place = max(i for i, one in enumerate(messages) if one.get("role") == "user")
    asked = dict(messages[place])
    content = asked["content"]
    if isinstance(content, str):
        asked["content"] = head + content
    else:
        asked["content"] = [{"type": "text", "text": head}, *content]
    return [*messages[:place], asked, *messages[place + 1 :]]


def within_budget(hits: Iterable[tuple[Hit, int]], budget: int) -> list[Hit]:
    """The best passages that fit into `budget` tokens, best first; `hits` come with their tokens.

    One that does not fit is left out, and a smaller one after it may be taken.
    """
    kept: list[Hit] = []
    for hit, tokens in hits:
        if tokens <= budget:
            kept.append(hit)
            budget -= tokens
    return kept


def sources_of(hits: Iterable[Hit]) -> list[JSON]:
    """The extension field of an answer: what stood in the prompt, best first."""
    return [
        {"id": hit.passage.id, "title": hit.passage.title, "score": round(hit.score, 6)}
        for hit in hits
    ]
