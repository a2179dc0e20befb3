"""How `tslc status --env` shows an environment: one screen, desired against actual, per node."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tslc.cli.output import table
from tslc.domain.release.report import Phase, Reported, VersionReport
from tslc.domain.release.shares import share_text
from tslc.domain.release.state import ModelState
from tslc.verbs.environment_status import EnvironmentStatus

_HEADER = ("MODEL", "VERSION", "DESIRED")


def status_json(status: EnvironmentStatus) -> dict[str, Any]:
    state = status.state
    return {
        "environment": state.environment,
        "generation": state.generation,
        "as_desired": status.as_desired,
        "changed": vars(state.change) if state.generation else None,
        "models": {
            name: {version: share / 100 for version, share in one.shares.items()}
            for name, one in state.models.items()
        },
        "keys": len(state.keys),
        "nodes": [_node_json(one) for one in status.reported],
    }


def _node_json(one: Reported) -> dict[str, Any]:
    report = one.report
    return {
        "node": report.node,
        "live": one.live,
        "age_seconds": round(one.age, 1),
        "stopped": report.stopped,
        "generation": report.generation,
        "router": report.router,
        "tslc": report.tslc,
        "problems": list(report.problems),
        "models": {
            name: {
                "as_desired": model.as_desired,
                "versions": {
                    version: {**asdict(seen), "phase": str(seen.phase), "share": seen.share / 100}
                    for version, seen in model.versions.items()
                },
            }
            for name, model in report.models.items()
        },
    }


def status_text(status: EnvironmentStatus) -> str:
    state = status.state
    if not state.generation and not status.reported:
        return f"nothing is wished for in {state.environment}, and no node reports"
    change = state.change
    why = f": {change.why}" if change.why else ""
    head = f"{state.environment}, generation {state.generation}"
    if state.generation:
        head += f" ({change.what}, by {change.who}, {change.when[:19]} UTC{why})"
    nodes = list(status.reported)
    names = [one.report.node for one in nodes]
    rows = [row for model in _models(status) for row in _rows(status, model, nodes)]
    parts = [head, "", table((*_HEADER, *names), rows)] if rows else [head]
    if problems := [line for one in nodes for line in _problems(one, state.generation)]:
        parts += ["", *problems]
    parts += ["", "as desired on every node" if status.as_desired else "not as desired everywhere"]
    return "\n".join(parts)


def _models(status: EnvironmentStatus) -> list[str]:
    names = {name for one in status.reported for name in one.report.models if one.live}
    return sorted({*status.state.models, *names})


def _rows(status: EnvironmentStatus, model: str, nodes: list[Reported]) -> list[tuple[str, ...]]:
    state = status.state.models.get(model)
    versions = dict.fromkeys(state.versions if state else ())
    for one in nodes:
        told = one.report.models.get(model)
        if told and one.live:
            versions |= dict.fromkeys(told.versions)
    return [
        (model, version, _desired(state, version), *(_cell(one, model, version) for one in nodes))
        for version in versions
    ]


def _desired(state: ModelState | None, version: str) -> str:
    if state is None or version not in state.versions:
        return "gone"
    share = state.shares[version]
    if state.shadow is not None and state.shadow.version == version:
        return f"shadow {share_text(state.shadow.share)}"
    return share_text(share) if share else "loaded"


def _cell(one: Reported, model: str, version: str) -> str:
    if not one.live:
        return "?"
    told = one.report.models.get(model)
    seen = told.versions.get(version) if told else None
    return _seen(seen) if seen is not None else "-"


def _seen(seen: VersionReport) -> str:
    share = f"{share_text(seen.share)} " if seen.share else ""
    workers = f" {seen.ready}/{seen.workers}" if seen.ready != seen.workers else ""
    return f"{share}{seen.phase}{workers}"


def _problems(one: Reported, generation: int) -> list[str]:
    report = one.report
    if not one.live:
        said = "stopped" if report.stopped else f"silent for {one.age:.0f} s"
        return [f"{report.node}: {said}; its last report is of generation {report.generation}"]
    found = [f"{report.node}: {problem}" for problem in report.problems]
    if report.generation < generation:
        found.append(f"{report.node}: at generation {report.generation}")
    for name, model in report.models.items():
        found += [
            f"{report.node}: {name} {version} {seen.phase}: {seen.reason}"
            for version, seen in model.versions.items()
            if seen.reason and seen.phase is not Phase.READY
        ]
    return found
