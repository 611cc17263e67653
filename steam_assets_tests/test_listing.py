"""Every index on a column's vectors is listed, with whether searches use it, and why not."""

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.listing import ListedIndex, clear_leftovers, list_indexes
from steam_assets.store.hnsw_lock import building
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.indexed_rows import built, fill, index_names, measured
from steam_assets_tests.rows import Connect, change_recipe, embed, execute
from steam_assets_tests.servers import stranger

NAME = "numbered_body_vector_halfvec_hnsw"


def listed(conn: connection, column: TextColumn) -> dict[str, ListedIndex]:
    """What is listed by name."""
    found = {one.name: one for one in list_indexes(conn, column)}
    conn.rollback()
    return found


def test_the_index_that_searches_use_is_said_to_be(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """With its recall; an older variant beside it, and one that nobody measured, are not used."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id, "bit")
    measured(conn, connect, numbered, run_id, recall=0.995)
    built(connect, numbered, run_id, "vector")
    found = listed(conn, numbered)
    assert {name.split("_")[3]: one.state for name, one in found.items()} == {
        "halfvec": "searches use it",
        "bit": "one chosen later is used",
        "vector": "not measured yet",
    }
    one = found[NAME]
    assert (one.is_used, one.recall, one.ef_search, one.rows, one.run_id) == (True, 0.995, 40, 30, run_id)
    assert one.bytes
    assert one.built_at


def test_an_index_of_an_earlier_run_is_said_to_be(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """It holds vectors that searches no longer read."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id)
    second = change_recipe(conn, numbered, "second")
    embed(conn, numbered)
    execute(conn, "UPDATE embedding_columns SET serving_run_id = %(run)s WHERE table_name = 'numbered'", run=second)
    assert listed(conn, numbered)[NAME].state == f"of run {run_id}: searches of this column read run {second}"


def test_what_was_dropped_and_what_is_not_ours_is_listed_too(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """With the definition of what we cannot build again."""
    measured(conn, connect, numbered, fill(conn, numbered, 30))
    execute(conn, "CREATE INDEX theirs ON numbered USING hnsw (body_vector vector_l2_ops)")
    found = listed(conn, numbered)
    assert set(found) == {NAME, "theirs"}
    assert found["theirs"].state == "not ours: searches do not use it (hnsw)"
    assert found["theirs"].bytes
    drop_for_bulk(conn, numbered, "bulk")
    found = listed(conn, numbered)
    assert set(found) == {NAME, "theirs"}
    for one in found.values():
        assert one.state.startswith("dropped for bulk work on 2")
    assert found["theirs"].definition is not None
    assert "vector_l2_ops" in found["theirs"].definition
    assert not found[NAME].is_used


def test_an_index_that_is_gone_is_said_to_be(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Somebody dropped it by hand."""
    measured(conn, connect, numbered, fill(conn, numbered, 30))
    execute(conn, f"DROP INDEX {NAME}")
    assert listed(conn, numbered)[NAME].state == "gone, or left invalid by a crash"


def test_leftovers_are_cleared_unless_somebody_builds_or_we_may_not(
    conn: connection, connect: Connect, numbered: TextColumn, other_conn: connection
) -> None:
    """What a killed build has left goes when somebody looks; what a living one needs stays."""
    measured(conn, connect, numbered, fill(conn, numbered, 30))
    execute(conn, f"CREATE INDEX {NAME}_new ON numbered (id)")
    conn.autocommit = True
    with building(other_conn, numbered):
        assert clear_leftovers(conn, numbered) == []
    with stranger(conn) as name:
        execute(conn, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; SET ROLE {name}")
        assert clear_leftovers(conn, numbered) == []
    assert clear_leftovers(conn, numbered) == [f"{NAME}_new"]
    assert index_names(conn) == [NAME]
