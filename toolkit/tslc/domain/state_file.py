"""What tslc itself wrote down, read again."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tslc.errors import BadFile, Mistake

State = TypeVar("State", bound=BaseModel)


def parse_state(kind: type[State], text: str, subject: str, fix: str) -> State:
    """Raises BadFile with all that is wrong and no value of it: it could be a secret."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        mistakes = [
            Mistake(".".join(str(part) for part in one["loc"]), one["msg"], fix)
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise BadFile(subject, mistakes) from None
