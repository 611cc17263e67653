"""From the first check to the measured recall: what is asked for is kept, and a column half done gets no index."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.build import IndexReport, Wanted, build_measured_index, resolve
from steam_assets.indexes.judge import judge_index
from steam_assets.indexes.listing import list_indexes
from steam_assets.indexes.ready import ColumnNotReady
from steam_assets.store.column_costs import column_costs
from steam_assets.store.hnsw import index_records, serving_index, variants_to_build
from steam_assets.store.hnsw_checks import IndexImpossible
from steam_assets.store.hnsw_drop import drop_index
from steam_assets.store.hnsw_lock import IndexBeingBuilt, building
from steam_assets.store.runs import start_range
from steam_assets.store.variants import find_variant
from steam_assets_tests.indexed_rows import fill, index_names
from steam_assets_tests.rows import Connect, add_rows, change_recipe, embed, execute, fetch


def build(connect: Connect, column: TextColumn, wanted: Wanted | None = None) -> IndexReport:
    """Build and measure, told to nobody."""
    return build_measured_index(connect, column, wanted or Wanted(), lambda _: None, "a-run")


def write_row(conn: connection, column: TextColumn, run_id: int, id_: int) -> None:
    """One row more, by an attempt that was killed after it."""
    add_rows(conn, column, {id_: f"new {id_}"})
    with conn:
        start_range(conn, column, run_id, "~:~", "a-run", "cpu", "fp32")
    embed(conn, column)


def test_an_index_is_built_measured_and_used(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Half precision, as many rows ask for; what was measured is on record."""
    run_id = fill(conn, numbered, 300)
    logged: list[str] = []
    done = build_measured_index(connect, numbered, Wanted(), logged.append, "a-run")
    assert (done.built.variant, done.built.rows, done.model_name) == ("halfvec", 300, "made-up")
    assert done.measured.chosen.recall >= done.measured.asked
    assert done.notices == ()
    index = serving_index(conn, numbered, run_id)
    assert index is not None
    assert index.ef_search == done.measured.chosen.ef_search
    (record,) = index_records(conn, numbered)
    assert record.recall == done.measured.chosen.recall
    assert record.details is not None
    assert record.details["recall_asked"] == 0.99
    assert isinstance(record.details["by_ef_search"], list)
    assert len(record.details["by_ef_search"]) == 6
    assert any("300 rows" in line and "MB" in line for line in logged)


def test_a_rebuild_asks_for_what_was_asked_for(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """The variant, its shape and its recall, unless something else is said; what nobody asked for is chosen anew."""
    fill(conn, numbered, 100)
    build(connect, numbered, Wanted("bit", m=7, recall=0.9))
    again = build(connect, numbered, Wanted(ef_construction=50))
    assert (again.built.variant, again.built.settings.m, again.built.settings.ef_construction) == ("bit", 7, 50)
    assert again.measured.asked == 0.9
    variant, options = resolve(conn, numbered, Wanted("vector"))
    assert (variant.name, options.m, options.recall) == ("vector", None, None)


def test_a_column_half_done_gets_no_index(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Nor does one whose recipe is new; an index that is there stays."""
    fill(conn, numbered, 50)
    build(connect, numbered)
    add_rows(conn, numbered, {1000: "new"})
    with pytest.raises(ColumnNotReady, match="1 row pending"):
        build(connect, numbered)
    execute(conn, "DELETE FROM numbered WHERE id = 1000")
    change_recipe(conn, numbered, "second")
    with pytest.raises(ColumnNotReady, match="50 rows pending"):
        build(connect, numbered)
    assert index_names(conn) == ["numbered_body_vector_halfvec_hnsw"]


def test_what_is_impossible_is_said_before_the_column_is_read(
    conn: connection, connect: Connect, numbered: TextColumn, other_conn: connection
) -> None:
    """Somebody else builds it, there is nothing in it, or no such variant."""
    with pytest.raises(IndexImpossible, match="no vector"):
        build(connect, numbered)
    add_rows(conn, numbered, {1: "pending"})
    with building(other_conn, numbered), pytest.raises(IndexBeingBuilt):
        build(connect, numbered)
    with pytest.raises(Exception, match="'ivf' is no variant of an index; expected one of: vector, halfvec, bit"):
        build(connect, numbered, Wanted("ivf"))


def test_shortened_vectors_are_indexed_and_measured_too(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """A projection is fitted for them; one that rows were written after is made anew, and the old one goes."""
    run_id = fill(conn, numbered, 200)
    done = build(connect, numbered, Wanted("pca", recall=0.5))
    index = serving_index(conn, numbered, run_id)
    assert index is not None
    assert index.projection is not None
    assert done.measured.other_index is None
    assert done.measured.chosen.recall > 0.9
    sizes = "SELECT pg_relation_size(%(i)s) + pg_table_size(%(t)s), pg_total_relation_size(%(t)s)"
    ((least, most),) = fetch(conn, sizes, i=index.name, t=index.projection)
    assert int(str(least)) < done.built.bytes <= int(str(most))
    write_row(conn, numbered, run_id, 1_000)
    assert build(connect, numbered).built.variant == "pca"
    newer = serving_index(conn, numbered, run_id)
    assert newer is not None
    assert newer.projection != index.projection
    tables = fetch(conn, "SELECT relname FROM pg_class WHERE relname ~ '^embedding_projected_[0-9]+$'")
    assert tables == [(newer.projection,)]


def test_an_index_that_rows_were_written_after_gives_way_to_one_that_has_them(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Until it is built again; then each serves as it was chosen, and what is dropped takes its projection along."""
    run_id = fill(conn, numbered, 200)

    def served() -> str:
        index = serving_index(conn, numbered, run_id)
        assert index is not None
        return index.variant.name

    for variant in ("halfvec", "pca"):
        build(connect, numbered, Wanted(variant, recall=0.1))
    assert served() == "pca"
    write_row(conn, numbered, run_id, 1_000)
    assert (served(), variants_to_build(conn, numbered, run_id)) == ("halfvec", ["pca"])
    assert {one.variant: one.state for one in list_indexes(conn, numbered)} == {
        "pca": "rows were written since it was projected",
        "halfvec": "searches use it",
    }
    assert "Rows were written since numbered_body_vector_pca_hnsw" in str(judge_index(conn, numbered).said)
    bytes_of = {record.variant: record.bytes for record in index_records(conn, numbered)}
    assert column_costs(conn, numbered, run_id).index_bytes == bytes_of["halfvec"]
    conn.rollback()
    build(connect, numbered, Wanted("pca"))
    assert (served(), judge_index(conn, numbered).passed) == ("pca", True)
    conn.rollback()

    build(connect, numbered, Wanted("halfvec"))
    write_row(conn, numbered, run_id, 1_001)
    build(connect, numbered, Wanted("pca"))
    assert served() == "halfvec"
    conn.rollback()
    conn.autocommit = True
    assert drop_index(conn, numbered, find_variant("pca"))
    assert fetch(conn, "SELECT relname FROM pg_class WHERE relname ~ '^embedding_projected_'") == []
    assert fetch(conn, "SELECT count(*) FROM embedding_projections") == [(0,)]


def test_an_index_of_somebody_else_that_is_in_the_way_is_told(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """In the report and in the log: what searches find is what that one holds."""
    fill(conn, numbered, 100)
    logged: list[str] = []

    def log(line: str) -> None:
        logged.append(line)
        if line.endswith("now its recall."):
            execute(conn, "ALTER INDEX numbered_body_vector_vector_hnsw RENAME TO theirs")

    done = build_measured_index(connect, numbered, Wanted("vector"), log)
    assert done.measured.other_index == "theirs"
    assert "The server would go through theirs instead of" in done.notices[-1]
    assert logged[-1] == done.notices[-1]
    assert build(connect, numbered, Wanted("halfvec")).notices == ()
