"""`tslc chat`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.node_options import home, name_option
from tslc.cli.output import emit, json_option

if TYPE_CHECKING:
    from tslc.domain.chat import Question
    from tslc.verbs.chat import Chat


@dataclass
class Heard:
    """The answer so far."""

    text: str = ""
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    first_token_seconds: float | None = None
    seconds: float = 0.0


@click.command("chat")
@click.argument("model", metavar="MODEL[@VERSION]")
@click.argument("prompt")
@click.option("--system", help="A system message to put before the prompt.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="The longest answer, in tokens.",
)
@click.option("--temperature", type=click.FloatRange(min=0), help="0 for the likeliest answer.")
@click.option("--bridge", is_flag=True, help="Through TorchServe, not the worker's own door.")
@click.option("--no-stream", is_flag=True, help="Ask for the answer in one piece.")
@name_option
@json_option
def command(
    model: str,
    prompt: str,
    system: str | None,
    max_tokens: int,
    temperature: float | None,
    bridge: bool,
    no_stream: bool,
    name: str,
    as_json: bool,
) -> None:
    """Ask a served model something; the answer streams."""
    from tslc.domain.chat import Question
    from tslc.verbs.chat import Target, open_chat

    named, _, version = model.partition("@")
    chat = open_chat(home(), Target(name, named, version or None, bridge))
    question = Question(prompt, system, max_tokens, temperature)
    heard = _listen(chat, question, stream=not no_stream, aloud=not as_json)
    if as_json:
        emit(_as_json(chat, heard), "", as_json=True)


def _listen(chat: Chat, question: Question, *, stream: bool, aloud: bool) -> Heard:
    heard = Heard()
    started = time.monotonic()
    for piece in chat.ask(question, stream=stream):
        if piece.text and heard.first_token_seconds is None:
            heard.first_token_seconds = time.monotonic() - started
        heard.text += piece.text
        heard.finish_reason = piece.finish_reason or heard.finish_reason
        heard.tokens_in = piece.tokens_in if piece.tokens_in is not None else heard.tokens_in
        heard.tokens_out = piece.tokens_out if piece.tokens_out is not None else heard.tokens_out
        if aloud:
            click.echo(piece.text, nl=False)
    heard.seconds = time.monotonic() - started
    if aloud:
        click.echo()
    return heard


def _as_json(chat: Chat, heard: Heard) -> dict[str, Any]:
    first = heard.first_token_seconds
    return {
        "model": chat.model,
        "version": chat.version,
        "door": "bridge" if chat.bridge else "direct",
        "text": heard.text,
        "finish_reason": heard.finish_reason,
        "tokens_in": heard.tokens_in,
        "tokens_out": heard.tokens_out,
        "first_token_seconds": None if first is None else round(first, 4),
        "seconds": round(heard.seconds, 4),
    }
