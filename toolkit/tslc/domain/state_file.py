"""What tslc itself wrote down, read again.

pydantic is imported by what reads or writes, not by what only names these values: it takes longer
to load than `tslc status --help` lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tslc.errors import BadFile, Mistake

if TYPE_CHECKING:
    from pydantic import TypeAdapter

State = TypeVar("State")
_schemas: dict[type, TypeAdapter[Any]] = {}


def parse_state(kind: type[State], text: str, subject: str, fix: str) -> State:
    """Raises BadFile with all that is wrong and no value of it: it could be a secret."""
    from pydantic import ValidationError

    try:
        return _schema(kind).validate_json(text)
    except ValidationError as error:
        mistakes = [
            Mistake(".".join(str(part) for part in one["loc"]), one["msg"], fix)
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise BadFile(subject, mistakes) from None


def _schema(kind: type[State]) -> TypeAdapter[State]:
    from pydantic import TypeAdapter

    if kind not in _schemas:
        _schemas[kind] = TypeAdapter(kind)
    return _schemas[kind]
