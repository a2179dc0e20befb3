"""Which retriever a version has: the index in its archive, or the database its config names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tslc_handlers.config import ConfigError
from tslc_handlers.rag.index import EMBEDDING, FOLDER, LocalIndex
from tslc_handlers.rag.passages import RetrievalFailed, Retriever
from tslc_handlers.rag.settings import PGVECTOR, RagSettings


def open_retriever(archive: Path, settings: RagSettings, environ: Mapping[str, str]) -> Retriever:
    """Raises ConfigError for an archive without an index and a variable that is not there."""
    folder = archive / FOLDER
    if not folder.is_dir():
        raise ConfigError(["no index in the archive: write `rag: {knowledge: …}` in archive.yaml"])
    try:
        if settings.retriever["type"] == PGVECTOR:
            return _database(folder, settings, environ)
        return LocalIndex(
            folder, candidates=settings.candidates, min_similarity=settings.min_similarity
        )
    except ImportError as error:
        extra = "pgvector" if error.name == "psycopg" else "rag"
        raise ConfigError(
            [f"the package {error.name} is not installed; pip install 'tslc[{extra}]'"]
        ) from error
    except RetrievalFailed as error:
        raise ConfigError([str(error)]) from error


def _database(folder: Path, settings: RagSettings, environ: Mapping[str, str]) -> Retriever:
    from tslc_handlers.rag.pgvector import LANGUAGE, TABLE, PgVectorRetriever

    try:
        return PgVectorRetriever(
            address(settings, environ),
            folder / EMBEDDING,
            table=settings.retriever.get("table", TABLE),
            language=settings.retriever.get("language", LANGUAGE),
            candidates=settings.candidates,
            min_similarity=settings.min_similarity,
            timeout_seconds=settings.timeout_seconds,
        )
    except ValueError as error:
        raise ConfigError([f"handler.rag.retriever: {error}"]) from error


def address(settings: RagSettings, environ: Mapping[str, str]) -> str:
    """The database's address, from the variable that the config names. Raises ConfigError."""
    name = settings.retriever.get("dsn_env")
    if name is None:
        raise ConfigError(
            ["handler.rag.retriever names no database: write `{type: pgvector, dsn_env: …}`"]
        )
    if not environ.get(name):
        raise ConfigError([f"handler.rag.retriever.dsn_env: the environment has no {name}"])
    return environ[name]
