"""`tslc pipeline render`: the template and the buildspecs, as tslc.yaml wants them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import packaged_pipeline
from tslc.adapters.node_folder import write_atomically
from tslc.domain.pipeline import template
from tslc.domain.settings import Settings


@dataclass(frozen=True)
class Rendered:
    """The files by their path below the output folder; `changed`: those that were not so before."""

    folder: Path
    files: dict[str, str]
    changed: tuple[str, ...]


def render(settings: Settings, folder: Path, *, dry_run: bool) -> Rendered:
    specs = packaged_pipeline.buildspecs()
    text = template.render(packaged_pipeline.template(), specs, settings)
    files = {template.TEMPLATE: text}
    files |= {f"{packaged_pipeline.BUILDSPECS}/{name}.yml": spec for name, spec in specs.items()}
    changed = tuple(name for name, said in files.items() if not _is(folder / name, said))
    if not dry_run:
        for name in changed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, files[name])
    return Rendered(folder, files, changed)


def _is(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (FileNotFoundError, UnicodeDecodeError):
        return False
