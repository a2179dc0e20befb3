"""The manifest of an archive: which bytes a version is made of, its weights included.

Laws: `Manifest.parse(m.render()) == m`, and `Manifest.parse` takes nothing that `render` would not
have written, so a manifest has one digest. The digest depends on paths and contents alone, never on
the order or the times of files. This module neither reads nor hashes files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

SCHEMA = 1
MANIFEST_NAME = "tslc-manifest.json"
MAX_FILES = 20_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = ("schema", "model", "version", "handler", "files", "weights", "golden")
_REBUILD = "build the archive again with `tslc build`"


@dataclass(frozen=True)
class FileEntry:
    """One file's content: 64 hex digits of SHA-256, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Weights:
    """The files of a weights folder; named by digest, kept beside the archive, never inside."""

    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical JSON of the files."""
        return f"sha256:{self.hex}"

    @property
    def hex(self) -> str:
        return hashlib.sha256(canonical_json(_files_json(self.files))).hexdigest()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files.values())


@dataclass(frozen=True)
class Manifest:
    """What a version is made of. Raises BadFile when the parts don't make a valid manifest."""

    model: str
    version: str
    handler: str
    files: Mapping[str, FileEntry]
    weights: Weights | None
    golden: str

    def __post_init__(self) -> None:
        if found := tuple(_mistakes(self)):
            raise BadFile(MANIFEST_NAME, found)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the rendered manifest: it names every byte of the version."""
        return f"sha256:{hashlib.sha256(self.render()).hexdigest()}"

    def render(self) -> bytes:
        weights = self.weights and {
            "digest": self.weights.digest,
            "size": self.weights.size,
            "files": _files_json(self.weights.files),
        }
        return canonical_json(
            {
                "schema": SCHEMA,
                "model": self.model,
                "version": self.version,
                "handler": self.handler,
                "files": _files_json(self.files),
                "weights": weights,
                "golden": self.golden,
            }
        )

    @classmethod
    def parse(cls, content: bytes, subject: str = MANIFEST_NAME) -> Manifest:
        """Read a rendered manifest; raises BadFile with every mistake found."""
        return _parse(content, subject)


def canonical_json(value: Any) -> bytes:
    """Sorted keys, two blanks of indent, ASCII, a newline at the end: one value, one text."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def path_problem(path: str) -> str | None:
    """Why a path may not stand in an archive; None when it may.

    Only relative POSIX paths that stay below the root, in one spelling each.
    """
    if not path:
        return "an empty path"
    if path.startswith("/") or "\\" in path:
        return "not a relative path with '/' between its parts"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "it has an empty part, '.' or '..'"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "it has a control character"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None


def _files_json(files: Mapping[str, FileEntry]) -> dict[str, Any]:
    return {path: {"sha256": entry.sha256, "size": entry.size} for path, entry in files.items()}


def _mistakes(manifest: Manifest) -> Iterable[Mistake]:
    if problem := model_name_problem(manifest.model):
        yield Mistake("model", problem, _REBUILD)
    if problem := version_problem(manifest.version):
        yield Mistake("version", problem, _REBUILD)
    yield from _file_mistakes("files", manifest.files)
    if MANIFEST_NAME in manifest.files:
        yield Mistake(f"files, {MANIFEST_NAME}", "the manifest lists itself", _REBUILD)
    for key, path in (("handler", manifest.handler), ("golden", manifest.golden)):
        if path not in manifest.files:
            yield Mistake(key, f"{path!r} is not among the files", _REBUILD)
    if manifest.weights is not None:
        yield from _file_mistakes("weights.files", manifest.weights.files)
        if not manifest.weights.files:
            yield Mistake("weights.files", "no file", _REBUILD)


def _file_mistakes(where: str, files: Mapping[str, FileEntry]) -> Iterable[Mistake]:
    if len(files) > MAX_FILES:
        yield Mistake(where, f"{len(files)} files, at most {MAX_FILES} are allowed", "pack fewer")
        return
    for path, entry in files.items():
        if problem := path_problem(path):
            yield Mistake(f"{where}, {path!r}", problem, _REBUILD)
        if any(parent in files for parent in _parents(path)):
            yield Mistake(f"{where}, {path!r}", "a file stands where its folder is", _REBUILD)
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            yield Mistake(f"{where}, {path!r}", "not a SHA-256 and a size", _REBUILD)


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _parse(content: bytes, subject: str) -> Manifest:
    mistakes: list[Mistake] = []
    document = _json_object(content, subject)
    mistakes += [unknown_word(key, key, _KEYS) for key in document if key not in _KEYS]
    if document.get("schema") != SCHEMA or isinstance(document.get("schema"), bool):
        said = document.get("schema")
        mistakes.append(Mistake("schema", f"{said!r} is not {SCHEMA}", "use a newer tslc"))
    texts = {
        key: _expect_text(key, document, mistakes.append)
        for key in ("model", "version", "handler", "golden")
    }
    files = _read_files("files", document.get("files"), mistakes.append)
    stated = document.get("weights")
    weights = None if stated is None else _read_weights(stated, mistakes.append)
    if mistakes:
        raise BadFile(subject, mistakes)
    try:
        manifest = Manifest(**texts, files=files, weights=weights)
    except BadFile as error:
        raise BadFile(subject, error.mistakes) from None
    if manifest.render() != content:
        raise BadFile(subject, [Mistake("the file", "not as tslc writes it", _REBUILD)])
    return manifest


def _json_object(content: bytes, subject: str) -> dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(subject, [Mistake("the file", f"not JSON: {error}", _REBUILD)]) from None
    if not isinstance(document, dict):
        raise BadFile(subject, [Mistake("the file", "not a JSON object", _REBUILD)])
    return document


def _expect_text(key: str, document: dict[str, Any], report: Callable[[Mistake], None]) -> str:
    value = document.get(key)
    if isinstance(value, str):
        return value
    report(Mistake(key, f"{value!r} is not a text", _REBUILD))
    return ""


def _read_files(
    where: str, stated: object, report: Callable[[Mistake], None]
) -> dict[str, FileEntry]:
    if not isinstance(stated, dict):
        report(Mistake(where, "not an object of files", _REBUILD))
        return {}
    files: dict[str, FileEntry] = {}
    for path, entry in stated.items():
        match entry:
            case {"sha256": str(sha256), "size": int(size)} if len(entry) == 2:
                files[path] = FileEntry(sha256, size)
            case _:
                report(Mistake(f"{where}, {path!r}", "not a SHA-256 and a size", _REBUILD))
    return files


def _read_weights(stated: object, report: Callable[[Mistake], None]) -> Weights | None:
    if not isinstance(stated, dict) or set(stated) != {"digest", "size", "files"}:
        report(Mistake("weights", "not an object of digest, size and files", _REBUILD))
        return None
    weights = Weights(_read_files("weights.files", stated["files"], report))
    if stated["digest"] != weights.digest:
        report(Mistake("weights.digest", "it is not the digest of weights.files", _REBUILD))
    if stated["size"] != weights.size:
        report(Mistake("weights.size", "it is not the sum of the sizes", _REBUILD))
    return weights
