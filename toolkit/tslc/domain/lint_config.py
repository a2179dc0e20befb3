"""A model config as the rules see it: typed values with defaults, and a place to report to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tslc.domain.annotations import human_number
from tslc.domain.config_document import ConfigDocument
from tslc.domain.lint_rules import RULES, Finding, Severity
from tslc.domain.marked_yaml import Node

ENGINE = ("handler", "vllm_engine_config")


@dataclass(frozen=True)
class LintedConfig:
    """`root` is the document as the rules read it; `subject` names the file in what is reported.

    `weights_named`: whether the archive names weights; None when that isn't known.
    """

    document: ConfigDocument
    root: Node
    subject: str
    weights_named: bool | None = None

    def integer(self, *path: str, default: int) -> int:
        """The whole number at `path`; `default` when there is none (a wrong type is another
        rule's business)."""
        value = self.value(*path)
        if isinstance(value, str):
            value = human_number(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def number(self, *path: str, default: float) -> float:
        value = self.value(*path)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if known and isinstance(value, int | float) else default

    def text(self, *path: str, default: str) -> str:
        value = self.value(*path)
        return value if isinstance(value, str) else default

    def value(self, *path: str) -> object:
        node = self.root.at(*path)
        return node.value if node else None

    def has(self, *path: str) -> bool:
        return self.root.at(*path) is not None

    def engine_size(self, key: str) -> int:
        """A parallel size of the engine: 1 unless a positive number is written."""
        return max(1, self.integer(*ENGINE, key, default=1))

    @property
    def on_gpu(self) -> bool:
        return self.text("deviceType", default="").lower() != "cpu"

    @property
    def copy_gpus(self) -> int:
        """GPUs one copy of the weights is split among."""
        return self.engine_size("tensor_parallel_size") * self.engine_size("pipeline_parallel_size")

    @property
    def engine_gpus(self) -> int:
        """GPUs one worker takes."""
        return self.copy_gpus * self.engine_size("data_parallel_size")

    def found(
        self,
        rule: str,
        path: Sequence[str],
        problem: str,
        *,
        fix: str | None = None,
        severity: Severity | None = None,
        line: int | None = None,
    ) -> Finding:
        """A finding at the key `path`, or at the nearest section above it that is written."""
        key = ".".join(path)
        if line is None:
            at, where = self.root.line_of(*path), self.document.place(self.subject, *path)
        else:
            at, where = line, f"{self.subject}:{line} {key}".rstrip()
        described = RULES[rule]
        return Finding(
            rule=rule,
            severity=severity or described.severity,
            where=where,
            line=at,
            key=key,
            problem=problem,
            why=described.why,
            fix=fix or described.fix,
        )
