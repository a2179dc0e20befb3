"""The same retrieval from a served database: PostgreSQL with pgvector and its own text search.

The table has `number bigint primary key, id text, document text, title text, passage text,
vector vector(n), words tsvector`; `load` makes it from an archive's index. Questions are embedded
by the worker, with the model in the archive. The database's address is never in a message.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tslc_handlers.rag.embedding import Embedder
from tslc_handlers.rag.index import LocalIndex
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
# With the five characters that a table being loaded has more, still a name of PostgreSQL's.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,57}", re.ASCII)
_NEW = "_new"
_MOST_CANDIDATES = 1000
"""pgvector's own limit of hnsw.ef_search."""

_Answer = TypeVar("_Answer")


class PgVectorRetriever:
    """`dsn`: libpq's address of the database; `embedding`: the folder of the embedding model.

    One connection a thread that searches, made again when it broke. Raises ValueError for an
    address, a table or a language that is none.
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
        self._dsn = _checked(dsn, table, language)
        self._table = f'"{table}"'
        self._language = language
        self._candidates = candidates
        self._least = min_similarity
        self._timeout = timeout_seconds
        self._embedder = Embedder(embedding)
        self._local = threading.local()
        self._open: set[Any] = set()
        self._opening = threading.Lock()

    def close(self) -> None:
        """The connections of all threads; a search that still runs fails."""
        with self._opening:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def search(self, query: Query, top_k: int) -> Sequence[Hit]:
        if not query.text.strip():
            return ()
        return self._asked(lambda cursor: self._search(cursor, query, top_k))

    def _asked(self, question: Callable[[Any], _Answer]) -> _Answer:
        """A database that was started anew has closed what was open: then it is asked once more."""
        import psycopg

        known = getattr(self._local, "connection", None)
        try:
            connection = self._connection()
            was_open: bool = connection is known
            try:
                with connection.cursor() as cursor:
                    return question(cursor)
            except psycopg.OperationalError:
                if not was_open or not connection.closed:
                    raise
                with self._connection().cursor() as cursor:
                    return question(cursor)
        except psycopg.Error as error:
            raise RetrievalFailed(f"the database: {_told(error)}") from None

    def _connection(self) -> Any:
        import psycopg

        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            with self._opening:
                self._open.discard(connection)
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=max(2, int(self._timeout)),
                prepare_threshold=None,  # a pooler gives each statement another connection
            )
            with self._opening:
                self._open.add(connection)
            wide = min(max(self._candidates, 40), _MOST_CANDIDATES)
            connection.execute(f"SET statement_timeout = {int(self._timeout * 1000)}")
            connection.execute(f"SET hnsw.ef_search = {wide}")
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
        """Any of the words, not all of them: a question has words that no passage has."""
        cursor.execute(
            "SELECT number, ts_rank_cd(words, asked) AS score "  # noqa: S608
            f"FROM {self._table}, (SELECT "
            f"replace(plainto_tsquery('{self._language}', %s)::text, '&', '|')::tsquery AS asked"
            ") AS question "
            "WHERE words @@ asked ORDER BY score DESC, number LIMIT %s",
            (text, self._candidates),
        )
        return [(int(number), float(score)) for number, score in cursor.fetchall()]


def _checked(dsn: str, table: str, language: str) -> str:
    """The address; raises ValueError, without telling it, when it or a name is none."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    for name in (table, language):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a table or language")
    try:
        conninfo_to_dict(dsn)
    except ProgrammingError:
        raise ValueError(
            "dsn_env: its variable holds no address, as postgresql://user@host/database"
        ) from None
    return dsn


def _told(error: Any) -> str:
    """What the server says, by its code; of a connection that failed only that: the reasons name
    hosts and users."""
    code = error.sqlstate
    said = error.diag.message_primary
    return f"{said} ({code})" if code and said else "it can't be reached"


def vector_text(vector: Any) -> str:
    return "[" + ",".join(f"{float(x):.7g}" for x in vector) + "]"


def load(dsn: str, index: LocalIndex, *, table: str = TABLE, language: str = LANGUAGE) -> None:
    """Fill the table with an index's passages and vectors; what it held is replaced at the end, in
    one transaction. Raises ValueError and RetrievalFailed."""
    import psycopg

    dsn = _checked(dsn, table, language)
    try:
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            _fill(cursor, index, f"{table}{_NEW}", language)
            cursor.execute(f'DROP TABLE IF EXISTS "{table}"')
            cursor.execute(f'ALTER TABLE "{table}{_NEW}" RENAME TO "{table}"')
    except psycopg.Error as error:
        raise RetrievalFailed(f"the database: {_told(error)}") from None


def _fill(cursor: Any, index: LocalIndex, table: str, language: str) -> None:
    vectors = index.vectors()
    cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    cursor.execute(f'DROP TABLE IF EXISTS "{table}"')
    cursor.execute(
        f'CREATE TABLE "{table}" (number bigint PRIMARY KEY, id text, document text, title text, '
        f"passage text, vector vector({vectors.shape[1]}), words tsvector)"
    )
    insert = (
        f'INSERT INTO "{table}" VALUES '  # noqa: S608 - a name
        f"(%s, %s, %s, %s, %s, %s::vector, to_tsvector('{language}', %s))"
    )
    rows = []
    for number, vector in enumerate(vectors):
        one = index.passage(number)
        said = f"{one.title}\n{one.text}"
        rows.append((number, one.id, one.document, one.title, one.text, vector_text(vector), said))
    cursor.executemany(insert, rows)
    cursor.execute(f'CREATE INDEX ON "{table}" USING hnsw (vector vector_cosine_ops)')
    cursor.execute(f'CREATE INDEX ON "{table}" USING gin (words)')
