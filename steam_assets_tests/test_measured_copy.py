"""What variants are measured on is a copy, which is gone afterwards, whatever became of the measuring."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw_size import BuildSettings
from steam_assets.store.measured_copy import measured_copy, measured_index
from steam_assets.store.variants import VARIANTS, find_variant
from steam_assets_tests.databases import wait_until
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, NUMBERS, add_blank_rows, clustered, make_vectors
from steam_assets_tests.rows import ODD_IDS, Connect, fetch, table_digest
from steam_assets_tests.test_pca import VECTORS as MANY
from steam_assets_tests.test_variants import FITTED

VECTORS = clustered(60)
SETTINGS = BuildSettings(m=16, ef_construction=64, memory_bytes=64 << 20, needed_bytes=0, workers=0)
COPIES = "SELECT relname FROM pg_class WHERE relname ~ '^embedding_measured_' AND relkind = 'r' ORDER BY 1"
HELD = """
    SELECT count(*)
    FROM pg_locks AS l
    JOIN pg_database AS d ON d.oid = l.database
    WHERE l.locktype = 'advisory'
      AND d.datname = current_database()
"""

HOLD = """
import sys, threading
import psycopg2
from steam_assets.columns import TextColumn
from steam_assets.store.measured_copy import measured_copy

conn = psycopg2.connect(sys.argv[1])
conn.autocommit = True
column = TextColumn(table="by_number", id="id", text="body", vector="body_embedding")
with measured_copy(conn, column, int(sys.argv[2]), 32, [], 1.0):
    print("there", flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize(("column", "kind"), [(BY_NUMBER, "vector"), (BY_NAME, "halfvec")], ids=["vector", "halfvec"])
def test_a_copy_has_the_run_s_vectors_but_those_held_out(conn: connection, column: TextColumn, kind: str) -> None:
    """As they are stored; the column is as it was, and the copy is gone when the block ends."""
    ids = list(range(len(ODD_IDS))) if column is BY_NUMBER else list(ODD_IDS)
    run = make_vectors(conn, column, clustered(len(ids)), ids, kind)
    if column is BY_NUMBER:
        add_blank_rows(conn, column, [1000])
    before = table_digest(conn, column)
    conn.autocommit = True
    with measured_copy(conn, column, run.run_id, NUMBERS, ids[:5], 1.0) as copy:
        assert copy.rows == len(ids) - 5
        assert fetch(conn, COPIES) == [(copy.table,)]
        same = f'SELECT count(*) FROM "{column.table}" AS t JOIN {copy.table} AS c ON c.vector = t.{column.vector}'  # noqa: S608
        assert fetch(conn, same) == [(len(ids) - 5,)]
        typed = f"SELECT DISTINCT pg_typeof(vector)::text FROM {copy.table}"  # noqa: S608
        assert fetch(conn, typed) == [(kind,)]
    assert fetch(conn, COPIES) == []
    assert table_digest(conn, column) == before


def test_a_sample_is_about_as_large_as_was_asked(conn: connection) -> None:
    """By hash of the ids."""
    run = make_vectors(conn, BY_NUMBER, MANY)
    conn.autocommit = True
    with measured_copy(conn, BY_NUMBER, run.run_id, NUMBERS, [], 0.2) as copy:
        assert 60 <= copy.rows <= 150


def test_every_variant_s_index_is_built_and_leaves_nothing(conn: connection) -> None:
    """A projected one brings its side table, whose bytes count."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    conn.autocommit = True
    with measured_copy(conn, BY_NUMBER, run.run_id, NUMBERS, [], 1.0) as copy:
        for variant in VARIANTS:
            with measured_index(conn, copy, variant, SETTINGS, FITTED) as built:
                assert (built.bytes >= 8192, built.seconds > 0) == (True, True)
                assert (built.projection is not None) == variant.projected
                assert len(fetch(conn, COPIES)) == 1 + variant.projected
                (size,) = fetch(conn, "SELECT pg_relation_size(%(name)s)", name=f"public.{built.name}")
                assert (built.bytes > int(str(size[0]))) == variant.projected
            left = "SELECT count(*) FROM pg_index WHERE indrelid = %(table)s::regclass AND NOT indisprimary"
            assert fetch(conn, left, table=copy.table) == [(0,)]


def test_an_error_while_measuring_leaves_nothing(conn: connection) -> None:
    """Nor does an interrupt: the copy is a gigabyte of somebody's disk."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    conn.autocommit = True

    def measure_and_be_interrupted() -> None:
        with (
            measured_copy(conn, BY_NUMBER, run.run_id, NUMBERS, [], 1.0) as copy,
            measured_index(conn, copy, find_variant("pca"), SETTINGS, FITTED),
        ):
            assert len(fetch(conn, COPIES)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_and_be_interrupted()
    assert fetch(conn, COPIES) == []


def test_what_a_killed_measurement_left_is_gone_with_the_next(
    conn: connection, connect: Connect, database_url: str
) -> None:
    """Killed with no time to clean up; a copy that another process still uses stays."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    conn.autocommit = True
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, database_url, str(run.run_id)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        (of_the_other,) = fetch(conn, COPIES)
        with measured_copy(conn, BY_NUMBER, run.run_id, NUMBERS, [], 1.0):
            assert len(fetch(conn, COPIES)) == 2
        assert fetch(conn, COPIES) == [of_the_other]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    with closing(connect()) as other:
        wait_until(lambda: fetch(other, HELD) == [(0,)], "the server has noticed")
    with measured_copy(conn, BY_NUMBER, run.run_id, NUMBERS, [], 1.0) as copy:
        assert fetch(conn, COPIES) == [(copy.table,)]
