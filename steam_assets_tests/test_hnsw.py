"""Our indexes go by name, record and run: a search goes through one that is there, of its run, and measured."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import (
    BEING_BUILT,
    index_name,
    index_records,
    serving_index,
    variants_to_build,
)
from steam_assets.store.hnsw_records import record_recall
from steam_assets.store.variants import VARIANTS
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.indexed_rows import HALFVEC, built, fill, measured
from steam_assets_tests.rows import NUMBERED, Connect, execute


def test_names_are_short_and_differ_by_column_and_variant() -> None:
    """PostgreSQL cuts names at 63 bytes, and two that are cut would be one."""
    long = [
        TextColumn(table="t" * 60, id="id", text="x", vector="ü" * 20 + letter, run="r", id_type="text")
        for letter in "ab"
    ]
    names = [index_name(column, variant) for column in (NUMBERED, *long) for variant in VARIANTS]
    assert len(set(names)) == len(names)
    assert max(len((name + BEING_BUILT).encode()) for name in names) <= 63
    assert names[0] == "numbered_body_vector_vector_hnsw"


def test_a_search_goes_through_an_index_once_it_is_measured(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Until then nobody knows what it finds."""
    run_id = fill(conn, numbered, 30)
    assert serving_index(conn, numbered, run_id) is None
    built(connect, numbered, run_id)
    assert serving_index(conn, numbered, run_id) is None
    with conn:
        record_recall(conn, numbered, HALFVEC, 64, 0.995, {"queries": 30})
    found = serving_index(conn, numbered, run_id)
    assert found is not None
    assert (found.name, found.variant, found.ef_search) == (index_name(numbered, HALFVEC), HALFVEC, 64)
    (record,) = index_records(conn, numbered)
    assert record.details is not None
    assert record.details["queries"] == 30
    assert record.details["workers"] == 0


@pytest.mark.parametrize(
    "damage",
    [
        "DROP INDEX numbered_body_vector_halfvec_hnsw",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'numbered_body_vector_halfvec_hnsw'::regclass",
    ],
    ids=["dropped", "invalid"],
)
def test_an_index_that_is_gone_or_invalid_is_not_asked(
    conn: connection, connect: Connect, numbered: TextColumn, damage: str
) -> None:
    """The record alone finds nothing; it says what is to be built again, as it does of a run that comes after."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id)
    assert variants_to_build(conn, numbered, run_id) == []
    assert variants_to_build(conn, numbered, run_id + 1) == ["halfvec"]
    execute(conn, damage)
    assert serving_index(conn, numbered, run_id) is None
    assert variants_to_build(conn, numbered, run_id) == ["halfvec"]


def test_of_several_indexes_the_one_chosen_last_is_asked(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Whoever builds another variant wants it used; the older one stands in while that cannot be."""
    run_id = fill(conn, numbered, 30)
    for variant in ("bit", "vector"):
        measured(conn, connect, numbered, run_id, variant)
    found = serving_index(conn, numbered, run_id)
    assert found is not None
    assert found.variant.name == "vector"
    execute(conn, "DROP INDEX numbered_body_vector_vector_hnsw")
    found = serving_index(conn, numbered, run_id)
    assert found is not None
    assert found.variant.name == "bit"


def test_indexes_that_were_lost_and_built_again_serve_as_they_were_chosen(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Bulk work drops both of them; which is built again first or last changes nothing, and a person's word does."""
    run_id = fill(conn, numbered, 30)
    for variant in ("bit", "halfvec"):
        measured(conn, connect, numbered, run_id, variant)
    drop_for_bulk(conn, numbered, "bulk")
    for _ in range(2):
        for variant in ("halfvec", "bit"):
            assert variant in variants_to_build(conn, numbered, run_id)
            measured(conn, connect, numbered, run_id, variant)
        assert [record.variant for record in index_records(conn, numbered)] == ["halfvec", "bit"]
        drop_for_bulk(conn, numbered, "bulk")
    for variant in ("bit", "halfvec", "bit"):
        measured(conn, connect, numbered, run_id, variant)
    found = serving_index(conn, numbered, run_id)
    assert found is not None
    assert found.variant.name == "bit"
