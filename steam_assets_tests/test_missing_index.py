"""The index of rows without a vector: queries use it, init builds it where it may, and nothing depends on it."""

import threading
from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.missing_index import (
    LONGEST_NAME_BYTES,
    build_after_commit,
    has_missing_index,
    index_name,
    missing,
)
from steam_assets.store.schema import SchemaPlan, apply_schema, plan_schema
from steam_assets.store.states import names
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.databases import execute_on, wait_until
from steam_assets_tests.rows import DIMENSION, NUMBERED, execute, fetch

ROWS = 100_000

ODD = TextColumn(
    table='Notes, "odd"', schema="Help Desk", id="The Id", text="50% {text}", vector="The Vector", id_type="text"
)

PROBE = sql.SQL("SELECT t.{id}, t.{text} FROM {table} AS t WHERE {missing} ORDER BY t.{id} LIMIT 2048")


def init(conn: connection, column: TextColumn) -> tuple[SchemaPlan, list[str]]:
    """Complete the schema for a column; the plan, and what was said of the steps after the commit."""
    with conn:
        plan = plan_schema(conn, [column], DIMENSION)
        apply_schema(conn, plan)
    return plan, list(build_after_commit(conn, plan.after_commit))


def probe(column: TextColumn, condition: sql.Composable | None = None) -> sql.Composed:
    """The first rows without a vector, in the table's order."""
    return PROBE.format(**names(column), missing=missing(column, "t") if condition is None else condition)


def plan_of(conn: connection, statement: sql.Composed) -> str:
    """How PostgreSQL would run a query."""
    return "\n".join(str(line) for (line,) in fetch(conn, sql.SQL("EXPLAIN (COSTS OFF) {}").format(statement)))


@pytest.fixture
def indexed(conn: connection, numbered: TextColumn) -> TextColumn:
    """A numbered table with the index."""
    init(conn, numbered)
    assert has_missing_index(conn, numbered)
    return numbered


@pytest.fixture
def many(conn: connection, indexed: TextColumn) -> TextColumn:
    """100,000 rows: one in a thousand waits for its vector, one in a hundred is blank, and all others have theirs."""
    execute(
        conn,
        """
        INSERT INTO numbered (id, body, body_vector)
        SELECT n,
               CASE WHEN mod(n, 100) = 1 THEN E' \\n' ELSE 'Note ' || n END,
               CASE WHEN mod(n, 100) <> 1 AND mod(n, 1000) <> 0 THEN array_fill(0.5, ARRAY[8])::vector END
        FROM generate_series(1, %(rows)s) AS n
        """,
        rows=ROWS,
    )
    execute(conn, "ANALYZE numbered")
    return indexed


def test_the_probe_reads_the_index_and_only_the_rows_that_wait(conn: connection, many: TextColumn) -> None:
    """Of 100,000 rows it touches the hundred without a vector, in the table's order, and no blank one."""
    assert [id_ for id_, _ in fetch(conn, probe(many))] == list(range(1_000, ROWS + 1, 1_000))
    assert f"Index Scan using {index_name(many)}" in plan_of(conn, probe(many))
    ((answer,),) = fetch(conn, sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(probe(many)))
    assert isinstance(answer, list)
    (scan,) = answer[0]["Plan"]["Plans"]
    assert scan["Actual Rows"] == ROWS // 1_000
    assert scan.get("Rows Removed by Filter", 0) == 0
    assert answer[0]["Execution Time"] < 50


def test_rows_without_a_text_are_not_in_the_index(conn: connection, many: TextColumn) -> None:
    """A thousand blank rows would be stepped over at every probe; a query that wants them does not get the index."""
    assert index_name(many) not in plan_of(conn, probe(many, sql.SQL("t.body_vector IS NULL")))


def test_a_fresh_table_has_the_index_in_inits_own_transaction(conn: connection) -> None:
    """The tables that init creates are empty: nobody writes to them yet, and nothing is left for after the commit."""
    assert all(has_missing_index(conn, column) for column in COLUMNS)


def test_a_table_with_rows_gets_the_index_while_others_write(
    conn: connection, other_conn: connection, notes: TextColumn
) -> None:
    """It is built after the commit, however long it takes; somebody's open transaction holds up the index only."""
    execute(conn, "INSERT INTO notes (id, body) VALUES ('a', 'text')")
    assert not has_missing_index(conn, notes)
    conn.rollback()
    other_conn.autocommit = False
    with other_conn.cursor() as cursor:
        cursor.execute("INSERT INTO notes (id, body) VALUES ('b', 'text')")
    execute(conn, "SET statement_timeout = '500ms'")
    said: list[tuple[SchemaPlan, list[str]]] = []
    building = threading.Thread(target=lambda: said.append(init(conn, notes)))
    building.start()
    with closing(psycopg2.connect(other_conn.dsn)) as third:
        wait_until(lambda: is_being_built(third), "the build has begun")
        plan = plan_schema(third, [notes], DIMENSION)
        assert plan.after_commit == ()
        assert "another session is building" in plan.notices[0]
        third.rollback()
        execute(third, "INSERT INTO notes (id, body) VALUES ('c', 'text')")
        wait_until(lambda: is_being_built(third, for_ms=600), "it has taken longer than other statements may")
    other_conn.commit()
    building.join(timeout=60)
    ((plan, lines),) = said
    assert plan.statements == ()
    assert lines == ["+ notes.body_vector: an index of the rows without a vector, built while others write"]
    assert has_missing_index(conn, notes)
    assert init(conn, notes) == (SchemaPlan((), (), plan.found, ()), [])


def is_being_built(conn: connection, for_ms: int = 0) -> bool:
    """Whether a session is building an index of the notes, and has been for so long."""
    question = """
        SELECT count(*)
        FROM pg_stat_progress_create_index AS build
        JOIN pg_stat_activity AS session USING (pid)
        WHERE relid = 'notes'::regclass
          AND clock_timestamp() - query_start >= make_interval(secs => %(seconds)s)
    """
    return fetch(conn, question, seconds=for_ms / 1000) == [(1,)]


def test_an_index_that_an_interrupted_build_left_invalid_is_built_anew(
    conn: connection, other_conn: connection, notes: TextColumn
) -> None:
    """It is told of, costs nobody their init, is used by nobody, and the next init drops and builds it."""
    other_conn.autocommit = False
    with other_conn.cursor() as cursor:
        cursor.execute("INSERT INTO notes (id, body) VALUES ('b', 'text')")
    execute(conn, "SET lock_timeout = '200ms'")
    (line,) = init(conn, notes)[1]
    assert "lock timeout" in line
    assert "optional" in line
    assert f'CREATE INDEX CONCURRENTLY "{index_name(notes)}"' in line
    assert not has_missing_index(conn, notes)
    assert fetch(conn, "SELECT indisvalid FROM pg_index WHERE indexrelid = %(name)s::regclass", name=index_name(notes))
    other_conn.commit()

    plan, lines = init(conn, notes)
    assert [step.sql.split('"')[0] for step in plan.after_commit] == [
        "DROP INDEX CONCURRENTLY ",
        "CREATE INDEX CONCURRENTLY ",
    ]
    assert [line[0] for line in lines] == ["+", "+"]
    assert has_missing_index(conn, notes)


def test_the_session_is_as_before_after_a_build(conn: connection, notes: TextColumn) -> None:
    """Transactions again, and the limits of every other statement."""
    limits = fetch(conn, "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout'")
    init(conn, notes)
    assert not conn.autocommit
    assert fetch(conn, "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout'") == limits


def test_who_does_not_own_the_table_is_told_what_its_owner_can_run(
    server: EmbeddedServer, conn: connection, database_url: str, notes: TextColumn
) -> None:
    """Init goes on without the index: it is optional, and the message says what it is good for."""
    execute_on(server, "CREATE ROLE index_guest LOGIN")
    try:
        execute(conn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO index_guest")
        with closing(psycopg2.connect(database_url.replace("postgres@", "index_guest@"))) as guest:
            (line,) = init(guest, notes)[1]
        assert "must be owner of table notes" in line
        assert "optional: new rows are found in milliseconds" in line
        execute(conn, "SET lock_timeout = 0")
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(line.partition("can run: ")[2])
        conn.autocommit = False
        assert has_missing_index(conn, notes)
    finally:
        execute(conn, "DROP OWNED BY index_guest; DROP ROLE index_guest")


def test_a_partitioned_table_gets_the_sql_instead_of_the_index(conn: connection) -> None:
    """PostgreSQL builds no index beside writers on it; what the owner then builds is found and used."""
    execute(
        conn,
        """
        CREATE TABLE numbered (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id);
        CREATE TABLE numbered_low PARTITION OF numbered FOR VALUES FROM (0) TO (10);
        CREATE TABLE numbered_high PARTITION OF numbered FOR VALUES FROM (10) TO (20);
        """,
    )
    plan, said = init(conn, NUMBERED)
    assert (plan.after_commit, said) == ((), [])
    (notice,) = (notice for notice in plan.notices if "partitioned" in notice)
    assert "optional" in notice
    execute(conn, notice.partition("can run: ")[2])
    assert has_missing_index(conn, NUMBERED)
    assert init(conn, NUMBERED)[0].notices == ()


def test_any_name_can_be_indexed(conn: connection) -> None:
    """Quotes, spaces, capitals, per cent signs and braces, in a schema of its own."""
    execute(conn, 'CREATE SCHEMA "Help Desk"')
    execute(conn, 'CREATE TABLE "Help Desk"."Notes, ""odd""" ("The Id" text PRIMARY KEY, "50% {text}" varchar(9))')
    init(conn, ODD)
    assert has_missing_index(conn, ODD)
    execute(conn, "SET enable_seqscan = off")
    assert sql.Identifier(index_name(ODD)).as_string(conn) in plan_of(conn, probe(ODD))


def test_a_name_is_short_and_says_which_column_it_is_for() -> None:
    """At most 63 bytes, whole characters; another for another column, and where another text or id is named."""
    tables = ("notes", "a_b", "a", "n" * 63, "ü" * 31, "n" + "ü" * 31)
    columns = [
        TextColumn(table=table, id="id", text=text, vector=vector)
        for table in tables
        for vector in ("b_c", "c", "v" * 52)
        for text in ("body", "title")
    ]
    found = [index_name(column) for column in columns]
    assert len(set(found)) == len(columns)
    assert max(len(name.encode()) for name in found) == LONGEST_NAME_BYTES
    assert all("missing" in name for name in found)
    assert index_name(REVIEWS).startswith("reviews_review_embedding_missing_")


def test_init_can_do_without(
    predecessor_database_url: str, conn: connection, steam_assets: Callable[..., Ended]
) -> None:
    """--no-index builds none and says nothing of them; the next init without it does."""
    there = ("--database-url", predecessor_database_url)
    assert "index of the rows" not in steam_assets("init", *there, "--no-index").out
    assert steam_assets("init", *there, "--no-index").out.startswith("The schema is complete; nothing to do.")
    planned = steam_assets("init", *there, "--dry-run").out
    assert f'CREATE INDEX CONCURRENTLY "{index_name(APPLICATIONS)}"' in planned
    assert "+ applications.description_embedding: an index of the rows" in steam_assets("init", *there).out
    with closing(psycopg2.connect(predecessor_database_url)) as predecessor:
        assert all(has_missing_index(predecessor, column) for column in COLUMNS)
