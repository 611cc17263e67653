"""Indexes of ours are dropped beside searches, with their records, and halves of killed builds with them."""

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store import hnsw_drop
from steam_assets.store.hnsw import index_records
from steam_assets.store.hnsw_checks import IndexImpossible
from steam_assets.store.hnsw_create import BuildProgress
from steam_assets.store.hnsw_drop import drop_concurrently, drop_index, drop_leftovers
from steam_assets.store.hnsw_lock import IndexBeingBuilt, building
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.indexed_rows import HALFVEC, built, fill, index_names, measured
from steam_assets_tests.rows import Connect, execute

NAME = "numbered_body_vector_halfvec_hnsw"


@pytest.fixture
def run_id(conn: connection, numbered: TextColumn) -> int:
    """A run with twenty vectors."""
    return fill(conn, numbered, 20)


def test_an_index_goes_with_its_record(conn: connection, connect: Connect, numbered: TextColumn, run_id: int) -> None:
    """Only that variant's; asked for again there is none."""
    for variant in ("halfvec", "bit"):
        measured(conn, connect, numbered, run_id, variant)
    conn.autocommit = True
    assert drop_index(conn, numbered, HALFVEC)
    assert index_names(conn) == ["numbered_body_vector_bit_hnsw"]
    assert [record.variant for record in index_records(conn, numbered)] == ["bit"]
    assert not drop_index(conn, numbered, HALFVEC)


def test_an_index_that_bulk_work_dropped_is_forgotten(
    conn: connection, connect: Connect, numbered: TextColumn, run_id: int
) -> None:
    """It would be built again, and a person wants it no more."""
    measured(conn, connect, numbered, run_id)
    drop_for_bulk(conn, numbered, "bulk")
    conn.autocommit = True
    assert drop_index(conn, numbered, HALFVEC)
    assert index_records(conn, numbered) == []
    assert not drop_index(conn, numbered, HALFVEC)


def test_what_is_in_the_way_is_told_before_anything_is_built_or_forgotten(
    conn: connection,
    connect: Connect,
    numbered: TextColumn,
    run_id: int,
    other_conn: connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An index that was replaced keeps its passing name while an old transaction may use it."""
    monkeypatch.setattr(hnsw_drop, "WAITS", "50ms")
    measured(conn, connect, numbered, run_id)
    told: list[BuildProgress] = []
    with other_conn.cursor() as old:
        old.execute("BEGIN; SELECT count(*) FROM numbered")
        built(connect, numbered, run_id)
        processes = r"SELECT pid FROM pg_locks WHERE relation = 'numbered'::regclass"
        with pytest.raises(IndexImpossible, match=rf"{NAME}_old.+ while older transactions use numbered.+{processes}"):
            built(connect, numbered, run_id, tell=told.append)
        conn.autocommit = True
        with pytest.raises(IndexImpossible, match=f"{NAME}_old"):
            drop_index(conn, numbered, HALFVEC)
        old.execute("COMMIT")
    assert told == []
    assert len(index_records(conn, numbered)) == 1
    built(connect, numbered, run_id)
    assert index_names(conn) == [NAME]


def test_leftovers_are_dropped_and_named(conn: connection, connect: Connect, numbered: TextColumn, run_id: int) -> None:
    """What a build had under its passing name, and what it had put aside."""
    measured(conn, connect, numbered, run_id)
    execute(conn, f"CREATE INDEX {NAME}_new ON numbered (id); CREATE INDEX {NAME}_old ON numbered (id)")
    execute(conn, "CREATE INDEX somebody_s_new ON numbered (id)")
    conn.autocommit = True
    assert drop_leftovers(conn, numbered) == [f"{NAME}_new", f"{NAME}_old"]
    assert drop_leftovers(conn, numbered) == []
    assert index_names(conn) == [NAME]


def test_an_index_that_an_old_transaction_uses_goes_with_the_next_build(
    conn: connection,
    connect: Connect,
    numbered: TextColumn,
    run_id: int,
    other_conn: connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dump may take hours; whoever drops does not wait for it, and searches no longer count on the index."""
    monkeypatch.setattr(hnsw_drop, "WAITS", "50ms")
    measured(conn, connect, numbered, run_id)
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with other_conn.cursor() as old:
        old.execute("BEGIN; SELECT count(*) FROM numbered")
        with pytest.raises(errors.LockNotAvailable):
            drop_index(conn, numbered, HALFVEC)
        assert index_records(conn, numbered) == []
        assert not drop_concurrently(conn, numbered, HALFVEC, "_old")
        old.execute("COMMIT")
    assert drop_index(conn, numbered, HALFVEC)
    assert index_names(conn) == []
    built(connect, numbered, run_id)
    assert index_names(conn) == [NAME]


def test_nothing_is_dropped_while_somebody_builds(
    conn: connection, connect: Connect, numbered: TextColumn, run_id: int, other_conn: connection
) -> None:
    """It may be the index that is being built."""
    measured(conn, connect, numbered, run_id)
    conn.autocommit = True
    with building(other_conn, numbered), pytest.raises(IndexBeingBuilt):
        drop_index(conn, numbered, HALFVEC)
    assert index_names(conn) == [NAME]
