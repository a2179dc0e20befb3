"""`tslc pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import dry_run_option, emit, json_option, size_text
from tslc.cli.store_options import byte_progress, manifest_json, node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.pull import Pulled


@click.command("pull")
@click.argument("model")
@click.argument("version")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("dist"))
@store_options
@dry_run_option
@json_option
def command(
    model: str,
    version: str,
    directory: Path,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Bring a version from the store to DIRECTORY/<model>-<version> (DIRECTORY: dist).

    Every byte is verified before it is in place. Contents lie once in a cache that all versions
    share; a pull that was killed goes on where it was. The environment's rules about signatures
    are obeyed before anything is fetched.
    """
    from tslc.verbs.pull import pull
    from tslc.verbs.store_access import open_cache, open_store
    from tslc.verbs.store_trust import checker

    settings = settings_of(flags)
    store, cache = open_store(settings, node_of(name)), open_cache(settings)
    with byte_progress("pulling") as progress:
        result = pull(
            store,
            cache,
            model,
            version,
            directory,
            check=checker(settings),
            dry_run=dry_run,
            progress=progress,
        )
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Pulled) -> dict[str, Any]:
    from tslc.verbs.pull import PullOutcome

    return {
        **manifest_json(result.manifest),
        "outcome": str(result.outcome),
        "dry_run": result.outcome is PullOutcome.WOULD_PULL,
        "folder": str(result.folder),
        "archive": str(result.archive),
        "trust": result.trust,
        "fetched_bytes": result.fetched_bytes,
        "resumed_bytes": result.resumed_bytes,
        "cached_bytes": result.cached_bytes,
        "evicted_bytes": result.evicted_bytes,
    }


def _text(result: Pulled) -> str:
    from tslc.verbs.pull import PullOutcome

    named = f"{result.manifest.model} {result.manifest.version}"
    fetched, cached = size_text(result.fetched_bytes), size_text(result.cached_bytes)
    match result.outcome:
        case PullOutcome.WOULD_PULL:
            head = f"would pull {named} to {result.folder}"
            return f"{head}\n  fetch  {fetched}\n  reuse  {cached} of the cache"
        case PullOutcome.UNCHANGED:
            return f"unchanged: {result.folder} is {named}, every byte ({result.trust})"
        case PullOutcome.PULLED:
            lines = [f"pulled {named} to {result.folder}"]
            lines += [f"  signature  {result.trust}", f"  fetched    {fetched}"]
            lines += [f"  reused     {cached} of the cache"]
            if result.resumed_bytes:
                earlier = size_text(result.resumed_bytes)
                lines[-1] += f", {earlier} of a pull that was cut short"
            if result.evicted_bytes:
                lines.append(f"  evicted    {size_text(result.evicted_bytes)} from the cache")
            return "\n".join(lines)
