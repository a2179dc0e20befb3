"""What lies in an archive and under which names.

Decides whether a file may be added to an archive being made, and whether the content of a built one
is that of its manifest: no file more, no fewer, no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tslc.domain.archive_spec import ArchiveSpec
from tslc.domain.config_document import ConfigDocument
from tslc.domain.lint_config import ENGINE
from tslc.domain.manifest import MANIFEST_NAME, FileEntry, Manifest, path_problem
from tslc.errors import Mistake

HANDLER_NAME = "tslc_handler.py"
MODEL_CONFIG_NAME = "model-config.yaml"
GOLDEN_NAME = "golden.jsonl"
REQUIREMENTS_NAME = "requirements.txt"
HANDLER_PACKAGE = "tslc_handlers"
GUARD_WEIGHTS = "guard"
"""The folder of a guard model's weights, below those of the model it guards."""
_REBUILD = "don't use it; build or fetch the archive again"


def stock_handler_source(name: str) -> str:
    """The handler file of an archive that has none of its own: the class `name`, as it is."""
    return (
        f"from tslc_handlers import {name}\n\n\n"
        f"class Handler({name}):\n"
        f'    """{name} as it is, with the settings of model-config.yaml."""\n'
    )


def archive_mistakes(
    manifest: Manifest, found: Mapping[str, FileEntry], torchserve: Mapping[str, object]
) -> tuple[Mistake, ...]:
    """What differs between an archive's manifest, its files and the manifest TorchServe reads."""
    return (*_file_mistakes(manifest, found), *_torchserve_mistakes(manifest, torchserve))


def _file_mistakes(manifest: Manifest, found: Mapping[str, FileEntry]) -> Iterator[Mistake]:
    for path in sorted({*manifest.files, *found}):
        if path not in found:
            yield Mistake(path, "in the manifest but not in the archive", _REBUILD)
        elif path not in manifest.files:
            yield Mistake(path, "in the archive but not in its manifest", _REBUILD)
        elif found[path] != manifest.files[path]:
            yield Mistake(path, "its content is not what the manifest says", _REBUILD)


def _torchserve_mistakes(manifest: Manifest, torchserve: Mapping[str, object]) -> Iterator[Mistake]:
    said = torchserve.get("model")
    expected = {
        "modelName": manifest.model,
        "modelVersion": manifest.version,
        "handler": manifest.handler,
        "configFile": MODEL_CONFIG_NAME,
    }
    for key, value in expected.items():
        other = said.get(key) if isinstance(said, dict) else None
        if other != value:
            problem = f"{key} is {other!r}, but this archive is {value!r}"
            yield Mistake("MAR-INF/MANIFEST.json", problem, _REBUILD)


def placement_problem(path: str, taken: Collection[str]) -> str | None:
    """Why a file can't be added at `path` to an archive with the paths `taken`; None if it can."""
    if problem := path_problem(path):
        return problem
    top = path.split("/")[0]
    if top.lower() in ("mar-inf", MANIFEST_NAME):
        return f"{top} in an archive is written by tslc"
    for other in taken:
        if path == other or other.startswith(f"{path}/") or path.startswith(f"{other}/"):
            return f"the archive has {other} already"
    return None


def reference_mistakes(
    document: ConfigDocument, subject: str, paths: Collection[str], *, stock: bool, weights: bool
) -> Iterator[Mistake]:
    """What the `handler:` section of a model config asks of an archive that it doesn't hold.

    `stock`: served by VLLMHandler itself; `weights`: the archive names weights.
    """
    if document.problem:
        return

    def mistake(key: tuple[str, ...], problem: str, fix: str) -> Mistake:
        line = document.root.line_of(*key)
        return Mistake(document.place(subject, *key), problem, fix, line)

    handler = document.section("handler")
    named = handler.get("model_path") or document.section(*ENGINE).get("model")
    if weights and handler.get("model_path"):
        fix = "remove it, or `weights:` from archive.yaml"
        yield mistake(("handler", "model_path"), "the archive names its weights too", fix)
    if stock and not weights and not named:
        problem = "neither the archive nor handler.model_path names weights"
        yield Mistake("weights", problem, "write `weights: FOLDER` or hf:org/name@revision")
    template = handler.get("chat_template")
    if isinstance(template, str) and _names_file(template) and template not in paths:
        fix = f"write `extra_files: [{template}]` in archive.yaml"
        yield mistake(("handler", "chat_template"), f"no {template} in the archive", fix)
    for name, path in document.section("handler", "adapters").items():
        inside = str(path).removeprefix("./").rstrip("/")
        if not inside.startswith("/") and not any(p.startswith(f"{inside}/") for p in paths):
            fix = f"write `extra_files: [{inside}]` in archive.yaml"
            yield mistake(
                ("handler", "adapters", str(name)), f"no folder {inside} in the archive", fix
            )


def part_mistakes(spec: ArchiveSpec, document: ConfigDocument) -> Iterator[Mistake]:
    """Parts of an archive that its handler needs and it lacks, or has and would not use."""
    if document.problem or not spec.stock:
        return
    retrieves, guards = "rag" in spec.handler, "guard" in spec.handler
    both = "rag-guard" if (spec.rag or retrieves) and (spec.guard or guards) else None
    where = spec.where("handler")
    if retrieves and spec.rag is None and "rag" not in spec.lines:
        fix = "write `rag: {knowledge: [FOLDER]}`"
        yield Mistake(where, f"{spec.handler} answers from a knowledge base; none is named", fix)
    if not retrieves and spec.rag is not None:
        problem = f"{spec.handler} would not use the knowledge base that rag names"
        yield Mistake(where, problem, f"write `handler: {both or 'rag'}`")
    url = document.section("handler", "guard").get("url")
    if guards and spec.guard is None and "guard" not in spec.lines and not url:
        fix = "write `guard: {model: FOLDER}`, or handler.guard.url in the model config"
        yield Mistake(where, f"{spec.handler} needs a guard model; none is named", fix)
    if not guards and spec.guard is not None:
        problem = f"{spec.handler} would not ask the guard model"
        yield Mistake(where, problem, f"write `handler: {both or 'guard'}`")
    if guards and spec.guard is not None and url:
        fix = "remove one of the two"
        yield Mistake(spec.where("guard"), "handler.guard.url names a guard too", fix)


def _names_file(template: str) -> bool:
    one_line = "\n" not in template and "{" not in template
    return one_line and template.endswith((".jinja", ".jinja2", ".j2"))
