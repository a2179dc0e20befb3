"""`tslc keys`: who may ask an environment's routers. A key is made here and kept nowhere."""

from __future__ import annotations

import hashlib
import secrets

from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.archive_name import model_name_problem
from tslc.domain.router.table import ApiKey
from tslc.domain.vocabulary import nearest
from tslc.errors import BadInput, Refused
from tslc.verbs.environment import Telling, current, write

# 256 bits: no salt and no slow hash is needed for what nobody can guess.
_BYTES = 32
_PREFIX = "tslc_"


def create_key(
    store: S3Store,
    environment: str,
    name: str,
    per_minute: int | None,
    telling: Telling,
    *,
    dry_run: bool = False,
) -> str | None:
    """The new key; None in a dry run. Raises Refused when there is one of that name."""
    if problem := model_name_problem(name):
        raise BadInput(f"a key's name: {problem}")
    objects = EnvironmentObjects(store, environment)
    found = objects.read_state()
    state = current(objects, found)
    if any(key.name == name for key in state.keys):
        hint = f"tslc keys revoke {name} --env {environment}   # or choose another name"
        raise Refused(f"{environment} has a key {name} already", hint=hint)
    if dry_run:
        return None
    text = _PREFIX + secrets.token_urlsafe(_BYTES)
    key = ApiKey(name, hashlib.sha256(text.encode()).hexdigest(), per_minute)
    write(objects, found, telling, keys=(*state.keys, key))
    return text


def list_keys(store: S3Store, environment: str) -> tuple[ApiKey, ...]:
    found = EnvironmentObjects(store, environment).read_state()
    return found.state.keys if found else ()


def revoke_key(
    store: S3Store,
    environment: str,
    name: str,
    telling: Telling,
    *,
    opens: bool = False,
    dry_run: bool = False,
) -> None:
    """Raises BadInput when there is no such key, Refused for the last one: without any, everybody
    may ask. `opens`: so be it."""
    objects = EnvironmentObjects(store, environment)
    found = objects.read_state()
    keys = found.state.keys if found else ()
    left = tuple(key for key in keys if key.name != name)
    if found is None or len(left) == len(keys):
        near = nearest(name, [key.name for key in keys])
        hint = f"tslc keys revoke {near}" if near else f"tslc keys list --env {environment}"
        raise BadInput(f"{environment} has no key {name}", hint=hint)
    if not left and not opens:
        raise Refused(
            f"{name} is the last key of {environment}: without any, everybody may ask",
            hint="tslc keys create ANOTHER   # first; or --open",
        )
    if not dry_run:
        write(objects, found, telling, keys=left)
