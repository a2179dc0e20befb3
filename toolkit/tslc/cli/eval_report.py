"""How an evaluation is shown: as text, as JSON, as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslc.cli.output import plural, table
from tslc.errors import BadInput

if TYPE_CHECKING:
    from tslc.domain.evaluation import Asked, Evaluation

_SHOWN = 100


def as_json(found: Evaluation, reasons: Sequence[str]) -> dict[str, Any]:
    from tslc.domain.evaluation import figures

    return {
        "model": found.model,
        "version": found.version,
        "against": found.against,
        "passed": not reasons,
        "reasons": list(reasons),
        "versions": {version: asdict(figures(found, version)) for version in found.versions},
        "prompts": [
            {
                "name": one.name,
                "answers": {
                    version: {**asdict(answer), "passed": answer.passed}
                    for version, answer in one.answers.items()
                },
            }
            for one in found.asked
        ],
        "failed": [one.name for one in found.failed],
        "regressed": [one.name for one in found.regressed],
        "mended": [one.name for one in found.mended],
        "changed": [one.name for one in found.changed],
    }


def as_text(found: Evaluation) -> str:
    from tslc.domain.evaluation import figures

    against = f" against {found.against}" if found.against else ""
    head = f"{found.model} {found.version}{against}: {plural(len(found.asked), 'prompt')}"
    rows = []
    for version in found.versions:
        seen = figures(found, version)
        tokens = "-" if seen.tokens is None else str(seen.tokens)
        speed = "-" if seen.tokens_per_second is None else f"{seen.tokens_per_second:.1f}"
        seconds = (f"{seen.median:.2f} s", f"{seen.p95:.2f} s")
        rows.append((version, str(seen.passed), str(seen.failed), *seconds, tokens, speed))
    header = ("VERSION", "PASSED", "FAILED", "MEDIAN", "P95", "TOKENS", "TOKENS/S")
    lines = [head, table(header, rows)]
    regressed = {one.name for one in found.regressed}
    for one in found.failed:
        mark = f"  ({found.against} passes it)" if one.name in regressed else ""
        lines.append(f"failed: {one.name}{mark}")
        lines += [f"    {reason}" for reason in one.answers[found.version].reasons]
    lines += [f"mended: {one.name}" for one in found.mended]
    for one in found.changed:
        lines.append(f"changed: {one.name}")
        lines += [f"    {version}: {_short(one, version)}" for version in found.versions]
    return "\n".join(lines)


def _short(one: Asked, version: str) -> str:
    text = one.answers[version].text
    if text is None:
        return "(no text)"
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def write_junit(found: Evaluation, path: Path) -> None:
    """A suite for each version, a case for each prompt. Raises BadInput."""
    from junitparser import Failure, JUnitXml, TestCase, TestSuite

    report = JUnitXml("tslc eval")
    for version in found.versions:
        suite = TestSuite(f"{found.model} {version}")
        for one in found.asked:
            answer = one.answers[version]
            case = TestCase(one.name, classname=f"{found.model}.{version}", time=answer.seconds)
            case.result = [Failure(reason) for reason in answer.reasons]
            suite.add_testcase(case)
        report.add_testsuite(suite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        report.write(str(path), pretty=True)
    except OSError as error:
        raise BadInput(f"--junit {path} can't be written: {error.strerror}") from None
