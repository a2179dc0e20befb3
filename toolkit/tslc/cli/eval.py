"""`tslc eval`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.eval_report import as_json as report_json
from tslc.cli.eval_report import as_text, write_junit
from tslc.cli.node_options import home, progress
from tslc.cli.output import emit, json_option
from tslc.cli.store_options import node_of, settings_of, store_options
from tslc.errors import BadInput, Refused

if TYPE_CHECKING:
    from tslc.adapters.s3_store import S3Store
    from tslc.domain.evaluation import EvalGates, Prompts
    from tslc.verbs.evaluate import Candidate

KEY_VARIABLE = "TSLC_API_KEY"
_FILE = click.Path(path_type=Path)


@click.command("eval")
@click.argument("model")
@click.argument("version")
@click.option("--against", metavar="VERSION", help="Ask this version too, and compare.")
@click.option("--data", type=_FILE, multiple=True, help="More prompts, in golden.jsonl's form.")
@click.option(
    "--url",
    metavar="URL",
    help=f"Ask through a router, such as https://llm.example.com; its key is in {KEY_VARIABLE}.  "
    "[default: the workers of the node on this machine]",
)
@click.option("--parallel", default=4, show_default=True, metavar="N", help="Requests at a time.")
@click.option("--min-pass", default="100%", show_default=True, help="How many prompts must pass.")
@click.option("--no-regression", is_flag=True, help="What --against passes must pass.")
@click.option("--max-slower", metavar="PERCENT", help="… and the median answer no slower than so.")
@click.option("--junit", type=_FILE, metavar="FILE", help="Also write JUnit XML, for CI systems.")
@store_options
@json_option
def command(
    model: str,
    version: str,
    against: str | None,
    data: tuple[Path, ...],
    url: str | None,
    parallel: int,
    min_pass: str,
    no_regression: bool,
    max_slower: str | None,
    junit: Path | None,
    name: str,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Ask running versions their golden prompts, and more, side by side.

    The golden prompts are those of VERSION's archive; --data adds any file of the same form. A
    router lets a version be asked for where its environment allows it (allow_version_header).
    Exits with 3 when VERSION does not pass.
    """
    from tslc.domain.evaluation import failures
    from tslc.verbs import evaluate as verb

    if parallel < 1:
        raise BadInput(f"--parallel {parallel}: not a number above 0")
    gates = _gates(min_pass, no_regression, max_slower, against)
    more = verb.read_datasets(data)
    key = os.environ.get(KEY_VARIABLE)
    with stop_signals(), progress() as line:
        if url is None:
            golden, ours, theirs = _here(name, model, version, against)
        else:
            store = _store(flags, name)
            golden = verb.golden_in_store(store, model, version)
            ours = verb.through_router(url, model, version, key)
            theirs = verb.through_router(url, model, against, key) if against else None
        prompts = verb.prompts_of(golden, more)
        found = verb.evaluate(
            *(model, ours, theirs, prompts, parallel),
            lambda done, total: line(f"{done} of {total} answers"),
        )
    reasons = failures(found, gates)
    if junit is not None:
        write_junit(found, junit)
    emit(report_json(found, reasons), lambda: as_text(found), as_json=as_json)
    if reasons:
        raise Refused("\n    ".join([f"{model} {version} does not pass:", *reasons]))


def _store(flags: dict[str, str | Path | None], name: str) -> S3Store:
    from tslc.verbs.store_access import open_store

    return open_store(settings_of(flags), node_of(name))


def _here(
    name: str, model: str, version: str, against: str | None
) -> tuple[Prompts | None, Candidate, Candidate | None]:
    from tslc.verbs.evaluate import at_node, golden_at_node
    from tslc.verbs.running_node import open_node

    node = open_node(home(), name)
    ours = at_node(node, model, version)
    theirs = at_node(node, model, against) if against else None
    return golden_at_node(node, model, version), ours, theirs


def _gates(
    min_pass: str, no_regression: bool, max_slower: str | None, against: str | None
) -> EvalGates:
    from tslc.domain.evaluation import EvalGates
    from tslc.domain.release.shares import WrongShare, read_share

    try:
        slower = None if max_slower is None else read_share(max_slower)
        gates = EvalGates(read_share(min_pass), no_regression, slower)
    except WrongShare as wrong:
        raise BadInput(str(wrong), hint="write a number from 0 to 100, such as 95%") from None
    if gates.compares and against is None:
        raise BadInput(
            "--no-regression and --max-slower compare", hint="name the other version with --against"
        )
    return gates
