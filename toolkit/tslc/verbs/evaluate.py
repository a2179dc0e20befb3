"""`tslc eval`: the same prompts to running versions, side by side.

The versions take turns prompt by prompt, so that what slows the machine down slows both.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tslc.adapters import worker_door
from tslc.adapters.archive_file import built_by_others, open_archive
from tslc.adapters.blob_inventory import read_blob
from tslc.adapters.router_client import RouterClient
from tslc.adapters.s3_store import S3Store
from tslc.adapters.worker_door import Door, Reply
from tslc.domain.evaluation import Answer, Asked, Evaluation, Prompts, dataset
from tslc.domain.golden import GoldenPrompt, answer_texts, judge, parse_golden
from tslc.domain.manifest import MANIFEST_NAME, Manifest
from tslc.domain.store_layout import ARCHIVE
from tslc.domain.store_manifest import Kind
from tslc.domain.store_plan import Blob
from tslc.errors import BadInput, RemoteFailed
from tslc.verbs.running_node import RunningNode, served_version
from tslc.verbs.store_access import read_manifest

PROMPT_SECONDS = 300.0
GOLDEN = "golden prompts"


class Endpoint(Protocol):
    """Where a version is asked."""

    def request(self, path: str, body: object, seconds: float) -> Reply: ...


@dataclass(frozen=True)
class Candidate:
    """A running version. `endpoints` are asked in turn; `served_name`: what requests call it."""

    version: str
    endpoints: Sequence[Endpoint]
    served_name: str


def evaluate(
    model: str,
    version: Candidate,
    against: Candidate | None,
    prompts: Sequence[GoldenPrompt],
    parallel: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Ask `parallel` prompts at a time; who does not answer has failed the prompt.

    Raises BadInput where there is nothing to ask.
    """
    if not prompts:
        raise BadInput(f"{model} {version.version} has no prompts", hint="--data questions.jsonl")
    asked = [version, *([against] if against else [])]
    turns = {one.version: itertools.cycle(one.endpoints) for one in asked}
    work = [(prompt, one, next(turns[one.version])) for prompt in prompts for one in asked]
    answers: dict[tuple[str, str], Answer] = {}
    with ThreadPoolExecutor(parallel) as pool:
        found = pool.map(lambda each: _ask(*each), work)
        for (prompt, one, _), answer in zip(work, found, strict=True):
            answers[prompt.name, one.version] = answer
            report(len(answers), len(work))
    return Evaluation(
        model,
        version.version,
        against.version if against else None,
        tuple(
            Asked(one.name, {each.version: answers[one.name, each.version] for each in asked})
            for one in prompts
        ),
    )


def _ask(prompt: GoldenPrompt, one: Candidate, endpoint: Endpoint) -> Answer:
    seconds = (prompt.expect.within_seconds or 0.0) + PROMPT_SECONDS
    try:
        reply = endpoint.request(prompt.path, prompt.body(one.served_name), seconds)
    except RemoteFailed as error:
        return Answer((error.message,), seconds)
    reasons = judge(prompt, reply.status, reply.body, reply.seconds)
    return Answer(reasons, reply.seconds, _text(reply.body), _tokens(reply.body))


def _text(body: bytes) -> str | None:
    try:
        return "\n".join(answer_texts(body))
    except ValueError:
        return None


def _tokens(body: bytes) -> int | None:
    try:
        found = json.loads(body)["usage"]["completion_tokens"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, int) else None


# --- where versions are asked, and what ----------------------------------------------------------


def at_node(node: RunningNode, model: str, version: str) -> Candidate:
    """The version's workers on this machine. Raises BadInput, NotRunning where it has none."""
    served_version(node, model, version)  # names the nearest one where there is none
    worker_door.first_door(node.paths.run, model, version)
    doors: tuple[Door, ...] = worker_door.doors_of(node.paths.run, model, version)
    names = doors[0].served_names()
    return Candidate(version, doors, names[0] if names else model)


def through_router(url: str, model: str, version: str, api_key: str | None) -> Candidate:
    client = RouterClient(url.rstrip("/").removesuffix("/v1"), version, api_key)
    return Candidate(version, [client], model)


def golden_at_node(node: RunningNode, model: str, version: str) -> Prompts | None:
    """Those of the archive that TorchServe has; None for one that others built."""
    for one in node.api.versions(model):
        place = node.paths.model_store / Path(one.archive).name
        if one.version == version and not built_by_others(place):
            archive = open_archive(place)
            subject = f"{archive.path}: {archive.manifest.golden}"
            return Prompts(GOLDEN, parse_golden(archive.golden, subject))
    return None


def golden_in_store(store: S3Store, model: str, version: str) -> Prompts | None:
    """Those of the version in the store; None for an archive that others built."""
    manifest = read_manifest(store, model, version)
    if manifest.kind is not Kind.TSLC:
        return None

    def read(name: str) -> tuple[bytes, str]:
        path = f"{ARCHIVE}{name}"
        entry = manifest.files.get(path)
        if entry is None:
            raise BadInput(f"{model} {version} in {store.address} has no {name}")
        return read_blob(store, Blob(entry.sha256, entry.size, path)), f"{store.address}: {path}"

    inner = Manifest.parse(*read(MANIFEST_NAME))
    content, subject = read(inner.golden)
    return Prompts(GOLDEN, parse_golden(content.decode("utf-8", "replace"), subject))


def read_datasets(paths: Iterable[Path]) -> list[Prompts]:
    """Raises BadInput for a file that can't be read or has mistakes."""
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise BadInput(f"{path} can't be read: {why}") from None
        found.append(Prompts(path.name, parse_golden(text, str(path))))
    return found


def prompts_of(golden: Prompts | None, data: Iterable[Prompts]) -> tuple[GoldenPrompt, ...]:
    return dataset([*([golden] if golden else []), *data])
