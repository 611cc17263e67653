"""A vector column that lost goes with everything that is about it, and nothing else goes."""

from contextlib import closing

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.store.catalog import get_table
from steam_assets.store.drop_column import NotDropped, drop_column, look_at
from steam_assets.store.locks import run_lock
from steam_assets.store.promotions import serving_columns
from steam_assets.store.runs import start_range
from steam_assets_tests.rivals import BOTH, RIVAL, make_rivals, runs_of
from steam_assets_tests.rows import NOTES, Connect, execute, fetch

OURS = {RIVAL.vector, RIVAL.run, RIVAL.digest}
WITH_RECORDS = ("columns", "failures", "indexes", "dropped_indexes", "projections", "run_ranges")


def records(conn: connection, vector: str) -> dict[str, object]:
    """How many rows of each of our tables are about a vector column."""
    counts = {}
    count = sql.SQL("SELECT count(*) FROM {} WHERE table_name = 'notes' AND vector_column = {}")
    for table in WITH_RECORDS:
        ((counts[table],),) = fetch(conn, count.format(sql.Identifier(f"embedding_{table}"), sql.Literal(vector)))
    return counts


def add_records(conn: connection, vector: str, run_id: int) -> None:
    """A record of every kind."""
    execute(
        conn,
        """
        INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind)
        VALUES ('notes', %(vector)s, %(run)s, 'a', md5('a')::uuid, 'failed');
        INSERT INTO embedding_indexes (table_name, vector_column, variant, run_id, index_name, m, ef_construction,
                                       ef_search, rows, bytes, seconds)
        VALUES ('notes', %(vector)s, 'halfvec', %(run)s, 'an_index', 16, 64, 40, 3, 1, 1);
        INSERT INTO embedding_dropped_indexes (table_name, vector_column, index_name, definition)
        VALUES ('notes', %(vector)s, 'an_index', 'CREATE INDEX');
        INSERT INTO embedding_projections (table_name, vector_column, run_id, dimension, components, matrix,
                                           digest, rows_fitted, explained)
        VALUES ('notes', %(vector)s, %(run)s, 8, 4, '', '', 3, 0.5);
        INSERT INTO embedding_run_ranges (table_name, vector_column, run_id, range_key, status)
        VALUES ('notes', %(vector)s, %(run)s, '~:~', 'done')
        """,
        vector=vector,
        run=run_id,
    )


def test_what_is_about_the_column_goes_and_the_other_column_keeps_all_of_its_own(conn: connection) -> None:
    """Vectors, runs, digests, indexes and records; only what was done, the attempts at ranges, stays on record."""
    run_id, rival_run = make_rivals(conn)
    add_records(conn, NOTES.vector, run_id)
    add_records(conn, RIVAL.vector, rival_run)
    ((number,),) = fetch(conn, "SELECT projection_id FROM embedding_projections WHERE vector_column = 'rival_vector'")
    execute(conn, f"CREATE TABLE embedding_projected_{number} (id text); CREATE INDEX on_rival ON notes (rival_vector)")
    kept = fetch(conn, "SELECT id, body, body_vector::text, embedding_run_id FROM notes ORDER BY id")
    before = records(conn, NOTES.vector)

    found = look_at(conn, RIVAL)
    assert (found.vectors, found.indexes) == (3, ("on_rival",))
    with conn:
        drop_column(conn, RIVAL)
    assert OURS.isdisjoint(get_table(conn, "notes").columns)
    assert records(conn, RIVAL.vector) == dict.fromkeys(WITH_RECORDS, 0) | {"run_ranges": 1}
    assert fetch(conn, f"SELECT to_regclass('embedding_projected_{number}'), to_regclass('on_rival')") == [(None, None)]
    assert fetch(conn, "SELECT id, body, body_vector::text, embedding_run_id FROM notes ORDER BY id") == kept
    assert (records(conn, NOTES.vector), serving_columns(conn, BOTH)) == (before, [NOTES])
    with pytest.raises(NotDropped, match=r"rival_vector is not there: nothing was dropped"):
        look_at(conn, RIVAL)


def test_a_column_that_is_searched_stays(conn: connection) -> None:
    """The message says what to do first; nothing is changed."""
    runs = make_rivals(conn)
    for refused in (look_at, drop_column):
        with pytest.raises(NotDropped, match=r"notes\.body_vector stays: searches read it\. `steam-assets promote`"):
            refused(conn, NOTES)
        conn.rollback()
    assert (runs_of(conn, NOTES)[1], NOTES.vector in get_table(conn, "notes").columns) == (runs[0], True)


def test_a_column_that_a_run_is_filling_stays(conn: connection, connect: Connect) -> None:
    """A run that died does not count: it holds no lock."""
    _, rival_run = make_rivals(conn)
    with conn:
        start_range(conn, RIVAL, rival_run, "~:~", "a run", "cpu", "fp32")
    with closing(connect()) as worker:
        run_lock(worker, "a run")
        with pytest.raises(NotDropped, match=r"stays: run a run is filling it\. Terminate it"):
            look_at(conn, RIVAL)
        conn.rollback()
    assert look_at(conn, RIVAL).vectors == 3


def test_a_column_that_a_view_needs_stays_and_the_view_is_named(conn: connection) -> None:
    """Nothing is dropped that nobody asked to drop."""
    make_rivals(conn)
    execute(conn, "CREATE VIEW nearest AS SELECT id FROM notes ORDER BY rival_vector <=> rival_vector")
    with pytest.raises(NotDropped, match=r"stays: view nearest depends on column rival_vector of table notes\."), conn:
        drop_column(conn, RIVAL)
    assert set(get_table(conn, "notes").columns) >= OURS
    assert runs_of(conn, RIVAL)[0] is not None


def test_a_table_in_use_is_not_waited_for(conn: connection, other_conn: connection) -> None:
    """Whoever comes to the table later would wait behind the drop."""
    make_rivals(conn)
    other_conn.autocommit = False
    with other_conn.cursor() as cursor:
        cursor.execute("SELECT FROM notes")
    with conn.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")  # a shorter one than the drop's own is kept
    conn.commit()
    with pytest.raises(NotDropped, match=r"stays: other sessions are using notes"), conn:
        drop_column(conn, RIVAL)
    other_conn.rollback()
    with conn:
        drop_column(conn, RIVAL)
    assert OURS.isdisjoint(get_table(conn, "notes").columns)


def test_a_column_whose_records_are_gone_can_be_dropped_all_the_same(conn: connection) -> None:
    """Half a drop by hand, or an init that was interrupted, leaves columns without a model."""
    make_rivals(conn)
    execute(conn, "DELETE FROM embedding_columns WHERE vector_column = 'rival_vector'")
    execute(conn, "ALTER TABLE notes DROP COLUMN rival_vector_run_id")
    with pytest.raises(NotDropped, match="searches read it"):
        drop_column(conn, NOTES)
    conn.rollback()
    with conn:
        drop_column(conn, RIVAL)
    assert OURS.isdisjoint(get_table(conn, "notes").columns)
    assert get_table(conn, "reviews").columns.keys() >= {REVIEWS.vector}
