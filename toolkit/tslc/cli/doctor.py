"""`tslc doctor`."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.node_options import home, progress
from tslc.cli.output import emit, json_option, plural
from tslc.cli.store_options import node_of, settings_of, store_options
from tslc.domain.doctor.store import Role
from tslc.errors import Refused

if TYPE_CHECKING:
    from tslc.verbs.doctor.examine import Examined


@click.command("doctor")
@click.option(
    "--only", multiple=True, metavar="CHECK", help="This check alone; may be given again."
)
@click.option(
    "--role",
    type=click.Choice([str(one) for one in Role]),
    default=str(Role.ALL),
    show_default=True,
    help="What the store's credentials are for: only its rights (deploy/iam) are tried.",
)
@click.option("--sign", "key", metavar="KEY", help="Try a key: a file, or awskms:///KEY.")
@store_options
@json_option
def command(
    only: tuple[str, ...],
    role: str,
    key: str | None,
    name: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check this machine, its node and its store, and say how to mend what is wrong.

    Looks at Java, TorchServe, vLLM, torch, GPU and driver, Envoy, limits, ports, leftover engines,
    disk and clock; tries every right to the store with a scratch object of its own; asks the node
    whether it serves what the environment wants. docs/doctor.md lists the checks. Mends nothing by
    itself. Exit code 3 when something is faulty, or could not be checked.
    """
    from tslc.verbs.doctor.examine import examine
    from tslc.verbs.doctor.subject import Subject

    settings = settings_of(flags)
    settings.environment()
    subject = Subject(home(), node_of(name), settings, os.environ, Role(role), key)
    with progress() as line:
        line("looking")
        found = examine(subject, only)
    emit(_as_json(found), lambda: _text(found), as_json=as_json)
    failed = [one.check for one in found if one.finding.verdict.fails]
    if failed:
        raise Refused(f"{plural(len(failed), 'check')} failed: {', '.join(failed)}")


def _as_json(found: tuple[Examined, ...]) -> dict[str, Any]:
    return {
        "ok": not any(one.finding.verdict.fails for one in found),
        "checks": [
            {
                "check": one.check,
                "verdict": str(one.finding.verdict),
                "found": one.finding.found,
                "fix": one.finding.fix or None,
            }
            for one in found
        ],
    }


def _text(found: tuple[Examined, ...]) -> str:
    width = max(len(one.check) for one in found)
    counted = Counter(str(one.finding.verdict) for one in found)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counted.items())
    return "\n".join([*(_lines(one, width) for one in found), "", summary])


def _lines(one: Examined, width: int) -> str:
    finding = one.finding
    indent = " " * (width + 2)
    said = finding.found.replace("\n", f"\n{indent}")
    verdict = "-" if str(finding.verdict) == "not applicable" else str(finding.verdict)
    head = f"{one.check.ljust(width)}  {verdict}: {said}"
    fixes = [f"{indent}fix: {fix}" for fix in finding.fix.splitlines()]
    return "\n".join([head, *fixes])
