"""Retrieval from a served database: a real PostgreSQL with pgvector, loaded by `tslc rag load`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from knowledge import QUESTIONS, SUPPORT_BOT, Library
from postgres import PASSWORD, Postgres, postgres
from tslc_handlers.config import ConfigError
from tslc_handlers.rag.index import LocalIndex
from tslc_handlers.rag.open import open_retriever
from tslc_handlers.rag.passages import Query, RetrievalFailed
from tslc_handlers.rag.settings import RagSettings

pytestmark = pytest.mark.integration
DSN = "LUMEN_DSN"
RETRIEVER = {"type": "pgvector", "dsn_env": DSN}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    library = Library.at(tmp_path_factory.mktemp("lib") / "l", SUPPORT_BOT / "knowledge")
    library.write_config(retriever=RETRIEVER, min_similarity=0)
    return library


@pytest.fixture(scope="module")
def archive(library: Library) -> Path:
    return library.built("1.0.0", "--format", "no-archive")


@pytest.fixture(scope="module")
def loaded(library: Library, archive: Path, server: Postgres) -> int:
    done = library.cli.ok("rag", "load", archive, "--json", env={DSN: server.dsn})
    return int(done.json["passages"])


def retriever(archive: Path, server: Postgres, **settings):
    parsed = RagSettings.parse({"retriever": RETRIEVER, **settings})
    return open_retriever(archive, parsed, {DSN: server.dsn})


def test_load_fills_the_table_with_every_passage(loaded, archive, server):
    with psycopg.connect(server.dsn) as connection:
        count, dimensions = connection.execute(
            "SELECT count(*), min(vector_dims(vector)) FROM passages"
        ).fetchone()
    assert (count, dimensions) == (loaded, 384)
    assert loaded == LocalIndex(archive / "index").count


def test_the_same_questions_give_nearly_the_passages_of_the_local_index(loaded, archive, server):
    local, served = LocalIndex(archive / "index"), retriever(archive, server, min_similarity=-1)
    shared = []
    for line in QUESTIONS.read_text().splitlines():
        one = json.loads(line)
        query = Query(one["question"], one.get("before", ""))
        there, here = (
            {hit.passage.id for hit in found.search(query, 3)} for found in (local, served)
        )
        shared.append(len(there & here) / len(there))
    served.close()
    assert sum(shared) / len(shared) > 0.8


def test_eval_and_query_ask_the_database_that_the_config_names(loaded, library, archive, server):
    env = {DSN: server.dsn}
    figures = library.cli.ok(
        "rag", "eval", archive, QUESTIONS, "--top-k", "3", "--json", env=env
    ).json
    assert figures["recall"] > 0.9
    (first, *_) = library.cli.ok("rag", "query", archive, "Aurora?", "--json", env=env).json
    assert first["document"] == "knowledge/products-home.md"
    assert set(first["why"]) == {"words", "vector"}


def test_loading_again_replaces_what_was_there(loaded, library, archive, server):
    library.cli.ok("rag", "load", archive, env={DSN: server.dsn})
    with psycopg.connect(server.dsn) as connection:
        rows = connection.execute("SELECT number FROM passages ORDER BY number").fetchall()
    assert [number for (number,) in rows] == list(range(loaded))


def test_a_dry_run_checks_the_config_and_asks_no_database(library, archive):
    away = {DSN: "postgresql://127.0.0.1:9/postgres"}
    done = library.cli.ok("rag", "load", archive, "--dry-run", "--json", env=away)
    assert done.json["dry_run"] is True and done.json["passages"] > 10


@pytest.mark.parametrize(
    "said",
    ['what is "Aurora" -lamp & (or) | !', "' ; DROP TABLE passages; --", "\\ %s :*", "the of"],
)
def test_a_question_is_never_read_as_the_databases_language(loaded, archive, server, said):
    served = retriever(archive, server)
    served.search(Query(said), 3)
    assert served.search(Query("Aurora desk lamp"), 3)
    served.close()


def test_words_count_one_by_one_so_that_unknown_ones_hide_nothing(loaded, archive, server):
    served = retriever(archive, server)
    found = served.search(Query("zxcvb qwertz Aurora"), 5)
    assert any("words" in hit.why for hit in found)
    served.close()


def test_a_restarted_database_is_asked_again_without_an_error(loaded, archive, server):
    served = retriever(archive, server)
    before = [hit.passage.id for hit in served.search(Query("warranty"), 3)]
    server.stop()
    with pytest.raises(RetrievalFailed):
        served.search(Query("warranty"), 3)
    server.start()
    assert [hit.passage.id for hit in served.search(Query("warranty"), 3)] == before
    server.stop()
    server.start()
    assert [hit.passage.id for hit in served.search(Query("warranty"), 3)] == before
    served.close()


def test_closing_closes_the_connections_of_every_thread(loaded, archive, server):
    served = retriever(archive, server)
    threads = [
        threading.Thread(target=served.search, args=(Query("shipping"), 1)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = list(served._open)
    served.close()
    assert len(opened) == 3 and all(connection.closed for connection in opened)


def test_no_message_tells_the_address_of_a_database_that_is_away(library, archive):
    dsn = f"postgresql://lumen:{PASSWORD}@127.0.0.1:9/postgres"
    done = library.cli("rag", "load", archive, env={DSN: dsn})
    assert done.code == 5 and "can't be reached" in done.err
    for secret in (PASSWORD, "lumen", "127.0.0.1"):
        assert secret not in done.err + done.out


def test_what_is_no_address_is_bad_input_and_is_not_told(library, archive):
    done = library.cli("rag", "load", archive, env={DSN: f"postgres//{PASSWORD}"})
    assert done.code == 2 and "holds no address" in done.err
    assert PASSWORD not in done.err + done.out


def test_an_environment_without_the_variable_is_told_by_its_name(archive):
    with pytest.raises(ConfigError, match=DSN):
        open_retriever(archive, RagSettings.parse({"retriever": RETRIEVER}), {})


def test_a_wrong_password_is_a_failed_retrieval(archive, server):
    parsed = RagSettings.parse({"retriever": RETRIEVER})
    served = open_retriever(archive, parsed, {DSN: server.dsn.replace(PASSWORD, "another")})
    with pytest.raises(RetrievalFailed) as caught:
        served.search(Query("warranty"), 3)
    assert "another" not in str(caught.value) and caught.value.__cause__ is None


def test_a_table_that_is_not_there_is_a_failed_retrieval_that_names_it(loaded, archive, server):
    served = retriever(archive, server, retriever={**RETRIEVER, "table": "order"})
    with pytest.raises(RetrievalFailed, match='relation "order" does not exist'):
        served.search(Query("warranty"), 3)
    served.close()


@pytest.mark.parametrize("key", ["table", "language"])
def test_a_name_that_is_none_is_a_mistake_of_the_config(archive, server, key):
    with pytest.raises(ConfigError, match="no name of a table or language"):
        retriever(archive, server, retriever={**RETRIEVER, key: "x; drop"})
