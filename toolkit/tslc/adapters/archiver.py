"""Making an archive: torch-model-archiver builds the tree, this packs it reproducibly.

torch-model-archiver puts a time into its manifest, the order of the disk into its zip and works in
a folder named like the model in the system's temporary folder, which it deletes first. So it runs
in a process and a temporary folder of its own, its time is set to a constant, and tslc packs.
Results are made in a hidden folder beside the target and renamed.
"""

from __future__ import annotations

import filecmp
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import assert_never

from tslc.adapters import archive_layout as layout
from tslc.adapters.scratch import scratch_folder
from tslc.domain.archive_name import ArchiveFormat
from tslc.errors import BadInput, Refused, TslcError

ARCHIVER_MANIFEST = "MAR-INF/MANIFEST.json"
_CREATED_ON = "01/01/1980 00:00:00"
_CONTENT = "content"


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """An empty folder on the target's file system, gone afterwards; makes the target's folder.

    Its path is absolute: processes use it that work elsewhere.
    """
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            parent = target.parent.absolute()
            folder = stack.enter_context(scratch_folder(parent, f".{target.name}."))
        except OSError as error:
            hint = "name another folder with -o"
            raise BadInput(f"can't write to {target.parent}: {error.strerror}", hint=hint) from None
        try:
            yield folder
        except OSError as error:
            raise TslcError(f"can't make {target}: {error.strerror or error}") from None


def handler_package() -> Path | None:
    """The folder of the tslc_handlers installed; None when it is not."""
    found = importlib.util.find_spec("tslc_handlers")
    return Path(found.origin).parent if found and found.origin else None


def make_tree(
    scratch: Path,
    files: Mapping[str, Path | bytes],
    *,
    model: str,
    version: str,
    handler: str,
    model_config: str,
    requirements: str | None,
) -> dict[str, Path]:
    """Run torch-model-archiver over the files (by their path in the archive).

    Returns the tree it made, its own manifest (with a constant time) included, when it holds the
    bytes of the files and nothing else; raises TslcError otherwise.
    """
    scratch = scratch.absolute()
    for path, source in files.items():
        target = scratch / _CONTENT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)
    options = {"--handler": handler, "--config-file": model_config}
    if requirements:
        options["--requirements-file"] = requirements
    _run_archiver(scratch, model, version, options)
    root = scratch / "made" / model
    _fix_time(root / ARCHIVER_MANIFEST)
    made = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    if set(made) != {*files, ARCHIVER_MANIFEST}:
        odd = ", ".join(sorted({*files, ARCHIVER_MANIFEST} ^ set(made)))
        raise TslcError(f"torch-model-archiver left out or added: {odd}")
    for path in files:
        if not filecmp.cmp(made[path], scratch / _CONTENT / path, shallow=False):
            raise TslcError(f"torch-model-archiver changed {path}")
    return made


def _run_archiver(scratch: Path, model: str, version: str, options: Mapping[str, str]) -> None:
    if importlib.util.find_spec("model_archiver") is None:
        hint = "pip install torch-model-archiver (it comes with the extras cpu and gpu)"
        raise TslcError("torch-model-archiver is not installed", hint=hint)
    for folder in ("made", "tmp"):
        (scratch / folder).mkdir()
    # Paths relative to the scratch folder: it takes `,`, `*`, `?` and `[` of a path for its own.
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += ["--model-name", model, f"--version={version}"]
    command += ["--archive-format", "no-archive", "--export-path", "made"]
    command += ["--extra-files", _CONTENT]
    for option, path in options.items():
        command += [option, f"{_CONTENT}/{path}"]
    run = subprocess.run(
        command,
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TslcError(f"torch-model-archiver failed: {last}")


def _fix_time(manifest: Path) -> None:
    document = json.loads(manifest.read_text("utf-8"))
    document["createdOn"] = _CREATED_ON
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    manifest.write_text(text, "utf-8", newline="\n")


def write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pack(files: dict[str, Path], scratch: Path, archive_format: ArchiveFormat, model: str) -> Path:
    """Pack a tree (paths in the archive to files) into the scratch folder; returns the result."""
    layout.check_size(files)
    result = scratch / "result"
    match archive_format:
        case ArchiveFormat.MAR:
            layout.write_zip(files, result)
        case ArchiveFormat.TGZ:
            layout.write_tgz(files, result, model)
        case ArchiveFormat.NO_ARCHIVE:
            _write_folder(files, result)
        case _:
            assert_never(archive_format)
    if result.is_file():
        result.chmod(layout.FILE_MODE)
        _flush(result)
    return result


def _write_folder(files: Mapping[str, Path], root: Path) -> None:
    for path in sorted(files):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[path], target)
        target.chmod(layout.FILE_MODE)
        os.utime(target, (layout.TIME, layout.TIME))
    for folder in (*(p for p in root.rglob("*") if p.is_dir()), root):
        folder.chmod(layout.FOLDER_MODE)
        os.utime(folder, (layout.TIME, layout.TIME))


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def same_content(one: Path, other: Path) -> bool:
    """Whether two results hold the same: bytes of a file, or paths and bytes of a folder."""
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    if not (one.is_dir() and other.is_dir()):
        return False
    names, others = ({p.relative_to(root) for p in root.rglob("*")} for root in (one, other))
    return names == others and all(
        ((one / n).is_dir() and (other / n).is_dir()) or same_content(one / n, other / n)
        for n in names
    )


def publish(result: Path, target: Path, *, replace: bool = True) -> None:
    """Rename the result to the target. What was there goes if `replace`; otherwise Refused, also
    for a file that another build put there this moment."""
    if result.is_file() and not replace:
        try:
            os.link(result, target)
        except FileExistsError:
            hint = "run the command again"
            raise Refused(f"{target} was made by another build meanwhile", hint=hint) from None
        except OSError:
            pass  # a file system without hard links
        else:
            return
    if target.is_dir() and not target.is_symlink():
        target.rename(result.parent / "replaced")
    result.rename(target)


def link_files(files: Mapping[str, Path], folder: Path) -> None:
    """Make `folder` hold links to the files, by path: weights that come from several places."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".link.") as scratch:
            made = Path(scratch, "made")
            for path, file in files.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).symlink_to(file.absolute())
            if folder.is_symlink() or folder.exists():
                folder.rename(Path(scratch, "replaced"))
            made.rename(folder)
    except OSError as error:
        hint = f"make {folder.parent} a folder you can write to"
        raise BadInput(f"can't make {folder}: {error.strerror or error}", hint=hint) from None


def link_weights(folder: Path, link: Path) -> None:
    """Let `link` lead to the weights folder. A folder that stands there itself is left."""
    try:
        if link.is_dir() and not link.is_symlink():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=link.parent, prefix=".link.") as scratch:
            part = Path(scratch, "link")
            part.symlink_to(folder.absolute(), target_is_directory=True)
            part.replace(link)
    except OSError as error:
        hint = f"make {link.parent} a folder you can write to"
        raise BadInput(f"can't make {link}: {error.strerror or error}", hint=hint) from None
