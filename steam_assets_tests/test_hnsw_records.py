"""What is written down of an index is what became of it, and searches and rebuilds go by that."""

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import index_records, serving_index
from steam_assets.store.hnsw_records import forget_index
from steam_assets.store.vector_indexes import drop_for_bulk, dropped_indexes
from steam_assets_tests.indexed_rows import HALFVEC, built, fill, measured
from steam_assets_tests.rows import Connect, change_recipe, execute


def test_building_again_deletes_the_record_of_the_drop(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Of our index, and of what a killed build had left; somebody else's stays recorded until it is there again."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id)
    ours = "numbered_body_vector_halfvec_hnsw"
    for name in ("theirs", f"{ours}_new"):
        execute(conn, f"CREATE INDEX {name} ON numbered USING hnsw (body_vector vector_l2_ops)")
    drop_for_bulk(conn, numbered, "bulk")
    assert {record.name for record in dropped_indexes(conn, numbered)} == {"theirs", ours, f"{ours}_new"}
    conn.rollback()
    built(connect, numbered, run_id)
    assert [record.name for record in dropped_indexes(conn, numbered)] == ["theirs"]


def test_a_rebuilt_index_serves_as_before_until_it_is_measured(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """No gap in which searches compare every row; an index of another run has yet to show what it finds."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id, recall=0.97)
    built(connect, numbered, run_id)
    assert serving_index(conn, numbered, run_id) is not None
    execute(conn, "UPDATE embedding_indexes SET run_id = %(run)s", run=change_recipe(conn, numbered, "second"))
    built(connect, numbered, run_id)
    (record,) = index_records(conn, numbered)
    assert (record.run_id, record.recall) == (run_id, None)


def test_a_forgotten_index_is_built_by_nobody(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """A person dropped it."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id)
    drop_for_bulk(conn, numbered, "bulk")
    with conn:
        forget_index(conn, numbered, HALFVEC)
    assert index_records(conn, numbered) == []
    assert dropped_indexes(conn, numbered) == []
