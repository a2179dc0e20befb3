"""The same retrieval from a served database: PostgreSQL with pgvector and its own text search.

The table has `number bigint primary key, id text, document text, title text, passage text,
vector vector(n), words tsvector`; `load` makes it from an archive's index. Questions are embedded
by the worker, with the model in the archive.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tslc_handlers.rag.embedding import Embedder
from tslc_handlers.rag.passages import (
    Hit,
    Passage,
    Query,
    RetrievalFailed,
    fuse,
    reasons,
    relevant,
)

TABLE = "passages"
LANGUAGE = "english"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)


class PgVectorRetriever:
    """`dsn`: libpq's address of the database; `embedding`: the folder of the embedding model.

    One connection a thread that searches, made again when it broke. Raises ValueError for a table
    or language that is no name.
    """

    def __init__(
        self,
        dsn: str,
        embedding: Path,
        *,
        table: str = TABLE,
        language: str = LANGUAGE,
        candidates: int = 50,
        min_similarity: float = -1.0,
        timeout_seconds: float = 10.0,
    ) -> None:
        for name in (table, language):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a table or language")
        self._dsn = dsn
        self._table = table
        self._language = language
        self._candidates = candidates
        self._least = min_similarity
        self._timeout = timeout_seconds
        self._embedder = Embedder(embedding)
        self._local = threading.local()

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def search(self, query: Query, top_k: int) -> Sequence[Hit]:
        import psycopg

        if not query.text.strip():
            return ()
        try:
            with self._connection().cursor() as cursor:
                return self._search(cursor, query, top_k)
        except psycopg.Error as error:
            self._local.connection = None
            raise RetrievalFailed(f"the database: {str(error).strip()}") from error

    def _connection(self) -> Any:
        import psycopg

        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            milliseconds = int(self._timeout * 1000)
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=max(2, int(self._timeout)),
                options=f"-c statement_timeout={milliseconds}",
            )
            self._local.connection = connection
        return connection

    def _search(self, cursor: Any, query: Query, top_k: int) -> Sequence[Hit]:
        rankings = {
            "words": self._by_words(cursor, query.text),
            "vector": self._by_vector(cursor, query.text),
        }
        if query.before:
            rankings["conversation"] = self._by_vector(cursor, f"{query.before}\n{query.text}")
        similarity: dict[int, float] = {}
        for name in ("vector", "conversation"):
            for number, score in rankings.get(name, ()):
                similarity[number] = max(score, similarity.get(number, -1.0))
        worded = [number for number, _ in rankings["words"]]
        ranked = relevant(fuse(rankings), similarity, worded, self._least)[:top_k]
        numbers = [number for number, _ in ranked]
        cursor.execute(
            f"SELECT number, id, document, title, passage FROM {self._table} "  # noqa: S608 - a name
            "WHERE number = ANY(%s)",
            (numbers,),
        )
        passages = {row[0]: Passage(*row) for row in cursor.fetchall()}
        why = reasons(rankings, numbers)
        return [Hit(passages[n], score, why[n]) for n, score in ranked if n in passages]

    def _by_vector(self, cursor: Any, text: str) -> list[tuple[int, float]]:
        vector = vector_text(self._embedder.embed(text))
        cursor.execute(
            f"SELECT number, 1 - (vector <=> %s::vector) FROM {self._table} "  # noqa: S608
            "ORDER BY vector <=> %s::vector, number LIMIT %s",
            (vector, vector, self._candidates),
        )
        return [(int(number), float(score)) for number, score in cursor.fetchall()]

    def _by_words(self, cursor: Any, text: str) -> list[tuple[int, float]]:
        cursor.execute(
            "SELECT number, ts_rank_cd(words, asked) AS score "  # noqa: S608
            f"FROM {self._table}, websearch_to_tsquery('{self._language}', %s) AS every, "
            "to_tsquery(replace(every::text, '&', '|')) AS asked "
            "WHERE words @@ asked ORDER BY score DESC, number LIMIT %s",
            (text, self._candidates),
        )
        return [(int(number), float(score)) for number, score in cursor.fetchall()]


def vector_text(vector: Any) -> str:
    return "[" + ",".join(f"{float(x):.7g}" for x in vector) + "]"


def load(
    dsn: str,
    passages: Sequence[Passage],
    embedding: Path,
    *,
    table: str = TABLE,
    language: str = LANGUAGE,
) -> None:
    """Fill the table with an archive's passages, in one transaction; what it held is replaced."""
    import psycopg

    if not _NAME.fullmatch(table) or not _NAME.fullmatch(language):
        raise ValueError(f"{table!r} or {language!r} is no name")
    embedder = Embedder(embedding)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(
            f"CREATE TABLE {table} (number bigint PRIMARY KEY, id text, document text, title text, "
            f"passage text, vector vector({embedder.dimensions}), words tsvector)"
        )
        for one in passages:
            text = f"{one.title}\n{one.text}"
            cursor.execute(
                f"INSERT INTO {table} VALUES "  # noqa: S608
                f"(%s, %s, %s, %s, %s, %s::vector, to_tsvector('{language}', %s))",
                (
                    one.number,
                    one.id,
                    one.document,
                    one.title,
                    one.text,
                    vector_text(embedder.embed(text)),
                    text,
                ),
            )
        cursor.execute(f"CREATE INDEX ON {table} USING hnsw (vector vector_cosine_ops)")
        cursor.execute(f"CREATE INDEX ON {table} USING gin (words)")
