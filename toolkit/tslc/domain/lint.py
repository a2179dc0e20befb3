"""What is wrong with a model config, and what works badly: the rules of lint_rules.py, applied.

Pure: the text, the engine's arguments, the weights' facts and the hardware are given. Any text
gives findings, never an exception; a text that is no YAML gives one finding that says so. A rule
is silenced on a line by a comment there, or on the line above: `# tslc: allow <rule> (reason)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tslc.domain.config_document import ConfigDocument, read_document
from tslc.domain.engine_fields import EngineFields
from tslc.domain.gpus import Hardware
from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_engine import check_engine
from tslc.domain.lint_fit import check_fit
from tslc.domain.lint_keys import check_keys
from tslc.domain.lint_rules import RULES, Finding, Severity
from tslc.domain.lint_torchserve import check_torchserve
from tslc.domain.marked_yaml import DuplicateKey, Node
from tslc.domain.memory import WeightsFacts
from tslc.domain.vocabulary import nearest

_ALLOW = re.compile(r"(?:^|\s)#\s*tslc:\s*allow\b\s*(?P<rules>[A-Za-z0-9_-]*(?:\s*,\s*[\w-]+)*)")


def check_model_config(
    text: str,
    subject: str,
    *,
    engine_fields: EngineFields | None,
    weights: WeightsFacts | None,
    hardware: Hardware | None = None,
) -> tuple[Finding, ...]:
    """The findings of a text; see check_document."""
    return check_document(
        read_document(text),
        subject,
        engine_fields=engine_fields,
        weights=weights,
        hardware=hardware,
    )


def check_document(
    document: ConfigDocument,
    subject: str,
    *,
    engine_fields: EngineFields | None,
    weights: WeightsFacts | None,
    hardware: Hardware | None = None,
    weights_named: bool | None = None,
) -> tuple[Finding, ...]:
    """Every finding, in the order of the file's lines.

    `subject` names the file in what is reported. Without `engine_fields` vLLM's own keys are not
    checked, without `weights` and `hardware` not whether the model fits. `weights_named`: whether
    the archive this is for names weights.
    """
    config = LintedConfig(document, _underscored(document.root), subject, weights_named)
    if broken := document.problem:
        return (config.found("yaml", (), broken.problem, line=broken.line),)
    findings = [
        *_duplicate_keys(config, document.duplicates),
        *check_keys(config, engine_fields),
        *check_torchserve(config, hardware),
        *check_engine(config),
        *check_fit(config, weights, hardware),
    ]
    allowed, misspelt = _allow_comments(config, document.source)
    kept = [f for f in findings if f.rule not in allowed.get(f.line, ())]
    return tuple(sorted([*kept, *misspelt], key=lambda f: f.line))


def counts(finding: Finding, *, strict: bool) -> bool:
    """True when this finding makes a file bad."""
    return finding.severity is Severity.ERROR or (strict and finding.severity is Severity.WARNING)


def _underscored(root: Node) -> Node:
    """The document with the engine's keys as vLLM spells them: the handler takes dashes too."""
    handler, engine = root.at("handler"), root.at(*ENGINE)
    if handler is None or engine is None:
        return root
    fields = {name.replace("-", "_"): node for name, node in engine.fields.items()}
    section = replace(handler, fields={**handler.fields, ENGINE[1]: replace(engine, fields=fields)})
    return replace(root, fields={**root.fields, "handler": section})


def _duplicate_keys(
    config: LintedConfig, duplicates: tuple[DuplicateKey, ...]
) -> Iterator[Finding]:
    for twice in duplicates:
        problem = f"{twice.path[-1]} is already on line {twice.first_line}; this one wins"
        yield config.found("duplicate-key", twice.path, problem, line=twice.line)


def _allow_comments(config: LintedConfig, text: str) -> tuple[dict[int, set[str]], list[Finding]]:
    """Which rules are allowed on which line, and what is wrong with the comments themselves."""
    allowed: dict[int, set[str]] = {}
    misspelt: list[Finding] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        found = _ALLOW.search(line)
        if not found:
            continue
        target = _next_written(lines, number) if line.strip().startswith("#") else number
        for rule in re.split(r"\s*,\s*", found["rules"]):
            if rule in RULES:
                allowed.setdefault(target, set()).add(rule)
                continue
            near = nearest(rule, RULES)
            problem = f"{rule!r} is no rule" if rule else "no rule is named"
            fix = f"write {near}" if near else None
            misspelt.append(config.found("allow-comment", (), problem, fix=fix, line=number))
    return allowed, misspelt


def _next_written(lines: list[str], number: int) -> int:
    """The number of the next line that is neither blank nor a comment."""
    for after, line in enumerate(lines[number:], start=number + 1):
        if line.strip() and not line.strip().startswith("#"):
            return after
    return number
