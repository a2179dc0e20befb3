"""Figures of the documentation that are computed are the ones that are computed."""

from __future__ import annotations

import re

import pytest

from lint_inputs import cards
from model_facts import AWQ, LLAMA_8B, LLAMA_70B
from pages import ROOT
from tslc.domain.gpus import GIB
from tslc.domain.memory import (
    WeightsFacts,
    kv_bytes_per_token,
    kv_room,
    read_architecture,
    weights_bytes,
)

GUIDE = (ROOT / "docs" / "guides" / "gpu-sizes.md").read_text()
ROW = re.compile(r"^\|(.*)\|(.*)\| (\d) × `(.+)` \| (.+) GiB \| ([\d,]+) \|$", re.MULTILINE)
# Seen by other tools.
NOT_OURS = {"nvidia-smi", "UC"}
MODELS = {
    "8B, bfloat16": LLAMA_8B,
    "70B, AWQ 4 bits": LLAMA_70B | AWQ,
    "70B, bfloat16": LLAMA_70B,
}


def rows() -> list[tuple[str, ...]]:
    """Every row, with the model and its weights where the table leaves them out."""
    found: list[tuple[str, ...]] = []
    for model, weights, *rest in ROW.findall(GUIDE):
        before = found[-1] if found else ("", "")
        found.append((model.strip() or before[0], weights.strip() or before[1], *rest))
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} on {row[2]} {row[3]}")
def test_what_a_card_holds_is_what_the_linter_computes(row: tuple[str, ...]) -> None:
    model, said, count, card, room_said, tokens = row
    architecture = read_architecture(MODELS[model])
    assert architecture is not None
    weights = weights_bytes(WeightsFacts(architecture, None))
    per_token = kv_bytes_per_token(architecture)
    assert weights is not None and per_token is not None
    hardware = cards(card, int(count))
    room = kv_room(
        gpu_memory=hardware.gpu_memory, utilization=0.92, weights=weights, gpus=hardware.gpus
    )
    assert f"{weights / GIB:.1f} GiB" == said
    assert f"{room / GIB:.1f}" == room_said
    assert f"{room * hardware.gpus / per_token:,.0f}" == tokens


def test_all_rows_are_looked_at() -> None:
    assert len(rows()) == GUIDE.count(" × `") == 12


def test_what_the_runbook_quotes_is_what_is_said() -> None:
    """Words in backticks of its first two columns stand in the code, but for paths and commands."""
    runbook = (ROOT / "docs" / "operations.md").read_text().partition("## Runbook")[2]
    lines = [line.split("|")[1:3] for line in runbook.splitlines() if line.startswith("| ")]
    sources = [*(ROOT / "toolkit").rglob("*.py"), *(ROOT / "deploy" / "prometheus").iterdir()]
    said = re.sub(r'"\s*\n\s*f?"', "", "".join(one.read_text() for one in sources))
    quoted = [part.strip() for cells in lines for part in re.findall(r"`([^`]+)`", "".join(cells))]
    strange = {
        words
        for quote in quoted
        for words in map(str.strip, quote.split("…"))
        if words not in said and words not in NOT_OURS
    }
    assert len(quoted) > 15
    assert strange == set()
