"""A version's chat template, with its system prompt baked in.

The system prompt becomes the fixed head of the template, so it costs nothing per request and
vLLM's prefix cache holds it once for everybody. A conversation that brings its own keeps it.
"""

from __future__ import annotations

import json
from pathlib import Path


def with_system_prompt(template: str, system_prompt: str) -> str:
    """A Jinja template that puts `system_prompt` before conversations that have none."""
    # A string literal of JSON is one of Jinja's, and Jinja reads it whole, tags and all.
    literal = json.dumps(system_prompt, ensure_ascii=False)
    head = (
        "{%- if not messages or messages[0]['role'] not in ['system', 'developer'] -%}"
        "{%- set messages = [{'role': 'system', 'content': " + literal + "}] + messages -%}"
        "{%- endif -%}"
    )
    return head + template


def template_of(folder: Path) -> str | None:
    """The chat template of a Hugging Face folder, or None."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text()
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return None
    template = json.loads(config.read_text()).get("chat_template")
    if isinstance(template, list):  # several by name
        template = {t["name"]: t["template"] for t in template}.get("default")
    return template if isinstance(template, str) else None


def named_template(named: str, archive: Path) -> str:
    """`handler.chat_template`: a file of the archive, or the template's text itself."""
    try:
        file = archive / named
        if file.is_file():
            return file.read_text()
    except OSError:  # a text too long to be a file's name
        pass
    return named
