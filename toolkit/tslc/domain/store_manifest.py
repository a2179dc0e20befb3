"""The manifest of a version in the store: every file of it by digest, and where it comes from.

Laws: `StoreManifest.parse(m.render()) == m`, and `parse` takes nothing that `render` would not have
written. `content` names what is served (kind, names, files) whoever pushed it: two manifests with
one content are one version. `digest` names the rest too, so that an edit by hand shows; only a
signature holds against someone who computes it anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    canonical_json,
    path_problem,
)
from tslc.domain.provenance import Git, Provenance
from tslc.domain.store_layout import ARCHIVE, FOREIGN_ARCHIVE, WEIGHTS
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

SCHEMA = 1
_STRICT = {"extra": "forbid"}
MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 200_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_OURS = "don't use this version; push it again under a new one"


def stored_files(manifest: Manifest) -> dict[str, FileEntry]:
    """The files of a version in the store that tslc built: its archive's and its weights'."""
    inner = manifest.render()
    inside = {
        **manifest.files,
        MANIFEST_NAME: FileEntry(hashlib.sha256(inner).hexdigest(), len(inner)),
    }
    weights = manifest.weights.files if manifest.weights else {}
    return {
        **{f"{ARCHIVE}{path}": entry for path, entry in inside.items()},
        **{f"{WEIGHTS}{path}": entry for path, entry in weights.items()},
    }


class Kind(StrEnum):
    """`tslc`: an archive built by tslc, file by file. `foreign`: any TorchServe archive, whole."""

    TSLC = "tslc"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class PickleAllowed:
    """Files that may run code when they are loaded, and who let them in.

    In a foreign archive they are files of the archive.
    """

    __pydantic_config__ = _STRICT

    allowed_by: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class StoreManifest:
    """Raises BadFile when its parts don't make a valid manifest."""

    kind: Kind
    model: str
    version: str
    files: Mapping[str, FileEntry]
    provenance: Provenance
    pickle: PickleAllowed | None = None

    def __post_init__(self) -> None:
        if found := tuple(_mistakes(self)):
            raise BadFile(f"the manifest of {self.model} {self.version}", found)

    @cached_property
    def content(self) -> str:
        """`sha256:<hex>`: what "the same content" means."""
        return _digest(
            {
                "kind": str(self.kind),
                "model": self.model,
                "version": self.version,
                "files": _files_json(self.files),
            }
        )

    @cached_property
    def blobs(self) -> Mapping[str, int]:
        """The size of each blob it needs, by 64 hex digits; the same content twice is one."""
        return {entry.sha256: entry.size for entry in self.files.values()}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    def below(self, prefix: str) -> dict[str, FileEntry]:
        """The files whose path begins with `prefix`, without it."""
        return {
            path.removeprefix(prefix): entry
            for path, entry in self.files.items()
            if path.startswith(prefix)
        }

    def render(self) -> bytes:
        return canonical_json({**self._unsealed(), "digest": _digest(self._unsealed())})

    def _unsealed(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "kind": str(self.kind),
            "model": self.model,
            "version": self.version,
            "files": _files_json(self.files),
            "content": self.content,
            "provenance": asdict(self.provenance),
            "pickle": self.pickle
            and {"allowed_by": self.pickle.allowed_by, "files": list(self.pickle.files)},
        }

    @classmethod
    def parse(cls, content: bytes, subject: str = "manifest.json") -> StoreManifest:
        """Read a rendered manifest; raises BadFile with every mistake found."""
        from pydantic import ValidationError

        try:
            document = _schema().validate_json(content, strict=True)
        except ValidationError as error:
            raise BadFile(subject, _schema_mistakes(error)) from None
        try:
            manifest = cls(
                document.kind,
                document.model,
                document.version,
                document.files,
                document.provenance,
                document.pickle,
            )
        except BadFile as error:
            raise BadFile(subject, error.mistakes) from None
        if found := tuple(_seal_mistakes(manifest, document, content)):
            raise BadFile(subject, found)
        return manifest


@dataclass(frozen=True)
class _Document:
    __pydantic_config__ = _STRICT

    schema: Literal[1]
    kind: Kind
    model: str
    version: str
    files: dict[str, FileEntry]
    content: str
    provenance: Provenance
    pickle: PickleAllowed | None
    digest: str


@cache
def _schema() -> TypeAdapter[_Document]:
    """Made when a document is read: pydantic takes longer to start than many commands last."""
    from pydantic import TypeAdapter

    return TypeAdapter(_Document)


_OWNERS: Mapping[tuple[int | str, ...], Any] = {
    ("provenance",): Provenance,
    ("provenance", "git"): Git,
    ("pickle",): PickleAllowed,
}


def _files_json(files: Mapping[str, FileEntry]) -> dict[str, Any]:
    return {path: {"sha256": entry.sha256, "size": entry.size} for path, entry in files.items()}


def _digest(document: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(canonical_json(document)).hexdigest()}"


def _schema_mistakes(error: ValidationError) -> Iterator[Mistake]:
    for one in error.errors(include_url=False, include_input=False):
        where = ", ".join(str(part) for part in one["loc"]) or "the file"
        if one["type"] == "unexpected_keyword_argument":
            owner = _OWNERS.get(one["loc"][:-1], _Document)
            yield unknown_word(where, str(one["loc"][-1]), owner.__dataclass_fields__)
        elif where == "schema":
            yield Mistake(where, f"it is not {SCHEMA}", "use a newer tslc")
        else:
            yield Mistake(where, one["msg"].lower(), _NOT_OURS)


def _seal_mistakes(
    manifest: StoreManifest, document: _Document, content: bytes
) -> Iterator[Mistake]:
    edited = "it was changed after it was written"
    if document.content != manifest.content:
        yield Mistake("content", f"not the digest of the files: {edited}", _NOT_OURS)
    elif manifest.render() != content:
        yield Mistake("the file", f"not as tslc wrote it: {edited}", _NOT_OURS)


def _mistakes(manifest: StoreManifest) -> Iterator[Mistake]:
    if problem := model_name_problem(manifest.model):
        yield Mistake("model", problem, _NOT_OURS)
    if problem := version_problem(manifest.version):
        yield Mistake("version", problem, _NOT_OURS)
    if len(manifest.files) > MAX_FILES:
        yield Mistake("files", f"{len(manifest.files)}, at most {MAX_FILES} are allowed", _NOT_OURS)
        return
    if not manifest.files:
        yield Mistake("files", "none", _NOT_OURS)
    sizes: dict[str, int] = {}
    for path, entry in manifest.files.items():
        where = f"files, {path!r}"
        if problem := path_problem(path) or _place_problem(manifest.kind, path):
            yield Mistake(where, problem, _NOT_OURS)
        if any(parent in manifest.files for parent in _parents(path)):
            yield Mistake(where, "a file stands where its folder is", _NOT_OURS)
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            yield Mistake(where, "not a SHA-256 and a size", _NOT_OURS)
        elif sizes.setdefault(entry.sha256, entry.size) != entry.size:
            yield Mistake(where, "one digest with two sizes", _NOT_OURS)
    yield from _unprintable("provenance", asdict(manifest.provenance))
    yield from _unprintable("pickle", asdict(manifest.pickle) if manifest.pickle else {})
    unknown = [path for path in (manifest.pickle or _NONE).files if path not in manifest.files]
    if unknown and manifest.kind is Kind.TSLC:
        yield Mistake("pickle.files", f"not among the files: {', '.join(unknown)}", _NOT_OURS)


def _unprintable(where: str, document: Mapping[str, Any]) -> Iterator[Mistake]:
    """What is shown on terminals must not drive them."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _unprintable(f"{where}.{key}", value)
        elif any(not one.isprintable() for one in _texts(value)):
            yield Mistake(f"{where}.{key}", "control characters in it", _NOT_OURS)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        yield from (one for one in value if isinstance(one, str))


_NONE = PickleAllowed("", ())


def _place_problem(kind: Kind, path: str) -> str | None:
    match kind:
        case Kind.TSLC:
            known = path.startswith((ARCHIVE, WEIGHTS))
            return None if known else f"neither below {ARCHIVE} nor {WEIGHTS}"
        case Kind.FOREIGN:
            return None if path == FOREIGN_ARCHIVE else f"not {FOREIGN_ARCHIVE}"


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
