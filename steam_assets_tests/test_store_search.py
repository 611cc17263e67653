"""Nearest rows of one run: through our index where there is one, never fewer than there are, of one moment."""

import numpy as np
import pytest
from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.pca import ensure_projection
from steam_assets.store import search
from steam_assets.store.hnsw import serving_index
from steam_assets.store.hnsw_build import BuildOptions, build_index
from steam_assets.store.hnsw_records import record_recall
from steam_assets.store.search import (
    Nearest,
    compare_all,
    count_left_out,
    find_nearest,
    snapshot,
    stored_vector,
    why_exact,
)
from steam_assets.store.states import estimated_rows
from steam_assets.store.variants import find_variant
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.games import add_index
from steam_assets_tests.indexed_rows import plan_of
from steam_assets_tests.made_up_vectors import BY_NUMBER, NUMBERS, clustered, make_vectors, put_vectors
from steam_assets_tests.rows import (
    DIMENSION,
    ODD_IDS,
    Connect,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    set_text,
    target_of,
    vectors_of,
)

QUERY = vectors_of([b"q" * 16])[0].tolist()
ROWS = 400


@pytest.fixture
def run_id(conn: connection, notes: TextColumn) -> int:
    """The run of 400 embedded notes; the index is used wherever it can be, as with a million."""
    add_rows(conn, notes, {f"{n:03}": f"text {n}" for n in range(ROWS)})
    embed(conn, notes)
    execute(conn, "ANALYZE notes")
    execute(conn, "SET enable_seqscan = off")
    execute(conn, "SET enable_sort = off")
    return target_of(conn, notes)


def nearest(conn: connection, column: TextColumn, run_id: int, k: int, condition: str = "TRUE") -> Nearest:
    """The rows nearest to QUERY for which the condition holds, read as searches read."""
    with snapshot(conn):
        return find_nearest(conn, column, run_id, QUERY, k, sql.SQL(condition))


def exactly(conn: connection, column: TextColumn, run_id: int, k: int, condition: str = "TRUE") -> Nearest:
    """The same without any index."""
    with snapshot(conn):
        return compare_all(conn, column, run_id, QUERY, k, sql.SQL(condition))


@pytest.mark.parametrize("variant", ["vector", "halfvec", "bit", "truncated"])
def test_searches_go_through_the_index_of_their_run(
    conn: connection, notes: TextColumn, run_id: int, variant: str
) -> None:
    """Each variant finds what comparing every row finds, with the cosines of the stored vectors."""
    without = nearest(conn, notes, run_id, 10)
    add_index(conn, notes, run_id, DIMENSION, variant, ef_search=ROWS)
    through = nearest(conn, notes, run_id, 10)

    index = serving_index(conn, notes, run_id)
    assert index is not None
    assert f"Index Scan using {index.name}" in plan_of(conn, index, notes, run_id, QUERY)
    assert (without.how, through.how) == ("exact", f"hnsw {variant}")
    assert through.rows == without.rows == exactly(conn, notes, run_id, 10).rows
    assert [row.cosine for row in through.rows] == sorted((row.cosine for row in through.rows), reverse=True)
    ids, vectors = zip(*fetch(conn, "SELECT id, body_vector::real[] FROM notes"), strict=True)
    cosines = dict(zip(ids, np.asarray(vectors) @ np.asarray(QUERY), strict=True))
    assert [row.id for row in through.rows] == sorted(cosines, key=lambda id_: -cosines[id_])[:10]
    assert through.rows[0].cosine == pytest.approx(cosines[through.rows[0].id], abs=1e-6)


def test_an_index_makes_no_search_lose_rows(conn: connection, notes: TextColumn, run_id: int) -> None:
    """More than ef_search at once, and more than there are."""
    add_index(conn, notes, run_id, DIMENSION, ef_search=10)
    for k in (1, 40, 41, ROWS, 1000):
        found = nearest(conn, notes, run_id, k)
        assert len({row.id for row in found.rows}) == len(found.rows) == min(k, ROWS)
        assert found.how == ("hnsw halfvec" if k <= ROWS else "exact")


def test_a_filter_is_answered_in_full_though_there_is_an_index(
    conn: connection, notes: TextColumn, run_id: int
) -> None:
    """However few rows it leaves: the index alone would give those among the nearest forty."""
    add_index(conn, notes, run_id, DIMENSION)
    for condition, fitting in (("t.id IN ('001', '222', '399')", 3), ("t.body LIKE '%7'", 40), ("FALSE", 0)):
        found = nearest(conn, notes, run_id, 10, condition)
        assert len(found.rows) == min(10, fitting)
        assert found.how == ("hnsw halfvec" if len(found.rows) == 10 else "exact")
        assert found.rows == exactly(conn, notes, run_id, 10, condition).rows


def test_where_the_index_gives_up_too_soon_every_row_is_compared(
    conn: connection, notes: TextColumn, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan stops after so many rows; those that fit may all lie behind them."""
    far = [row.id for row in exactly(conn, notes, run_id, ROWS).rows[-5:]]
    add_index(conn, notes, run_id, DIMENSION, ef_search=5)
    monkeypatch.setattr(search, "MAX_SCAN_TUPLES", 1)
    condition = f"t.id IN ({', '.join(map(repr, far))})"
    found = nearest(conn, notes, run_id, 5, condition)
    assert ([row.id for row in found.rows], found.how) == (far, "exact")


def test_a_pgvector_without_iterative_scans_answers_filters_exactly(
    conn: connection, notes: TextColumn, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.7 has no setting for them, and would leave rows out."""
    add_index(conn, notes, run_id, DIMENSION)
    for since, expected in (([0, 8], "relaxed_order"), ([99, 0], "off")):
        monkeypatch.setattr(search, "ITERATIVE_SINCE", since)
        with snapshot(conn):
            unfiltered = find_nearest(conn, notes, run_id, QUERY, 5)
            set_here = fetch_inside(conn, "SELECT current_setting('hnsw.iterative_scan', TRUE)")
        assert (unfiltered.how, set_here) == ("hnsw halfvec", expected)
    assert nearest(conn, notes, run_id, 5, "t.id > '100'").how == "exact"


def fetch_inside(conn: connection, statement: str) -> object:
    """One value, in the transaction that is open."""
    with conn.cursor() as cursor:
        cursor.execute(statement)
        (value,) = cursor.fetchone() or (None,)
    return value


def test_settings_of_a_search_end_with_it(conn: connection, notes: TextColumn, run_id: int) -> None:
    """A pooled connection is as it was for whoever has it next."""
    add_index(conn, notes, run_id, DIMENSION, ef_search=77)
    with snapshot(conn):
        find_nearest(conn, notes, run_id, QUERY, 5)
        assert fetch_inside(conn, "SHOW hnsw.ef_search") == "77"
    assert fetch(conn, "SHOW hnsw.ef_search") == [("40",)]
    assert fetch(conn, "SHOW transaction_isolation") == [("read committed",)]


def test_an_index_of_another_run_is_never_asked(conn: connection, notes: TextColumn, run_id: int) -> None:
    """Its order would be that of another model; the person learns why it takes longer."""
    add_index(conn, notes, run_id, DIMENSION)
    second = change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id >= '300'", run=second)
    found = nearest(conn, notes, second, 200)
    assert (len(found.rows), found.how) == (100, "exact")
    assert min(row.id for row in found.rows) == "300"
    assert why_exact(conn, notes, run_id) is None
    assert why_exact(conn, notes, second) == (
        f"exact scan of every row: notes_body_vector_halfvec_hnsw is of run {run_id}, and searches read run {second}; "
        "`steam-assets index build notes.body_vector` builds it anew"
    )


def test_an_index_that_is_gone_or_not_measured_is_not_asked(conn: connection, notes: TextColumn, run_id: int) -> None:
    """Searches go on without it, and say so."""
    add_index(conn, notes, run_id, DIMENSION)
    execute(conn, "UPDATE embedding_indexes SET recall = NULL")
    assert nearest(conn, notes, run_id, 5).how == "exact"
    assert "hnsw is not measured yet; `steam-assets index build" in (why_exact(conn, notes, run_id) or "")

    conn.rollback()
    execute(conn, "UPDATE embedding_indexes SET recall = 1")
    execute(conn, "DROP INDEX notes_body_vector_halfvec_hnsw")
    assert nearest(conn, notes, run_id, 5).how == "exact"
    assert "hnsw is gone; `steam-assets index build" in (why_exact(conn, notes, run_id) or "")


def test_an_index_that_was_dropped_for_bulk_work_is_missed(conn: connection, notes: TextColumn, run_id: int) -> None:
    """The reason is that of vector_indexes.py."""
    add_index(conn, notes, run_id, DIMENSION)
    drop_for_bulk(conn, notes, "a-run")
    assert nearest(conn, notes, run_id, 5).how == "exact"
    assert "was dropped for bulk work" in (why_exact(conn, notes, run_id) or "")


def test_nobody_is_told_that_a_small_table_has_no_index(
    conn: connection, notes: TextColumn, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing a few thousand vectors takes milliseconds; with more, the command is named."""
    assert estimated_rows(conn, notes) == ROWS
    assert why_exact(conn, notes, run_id) is None
    monkeypatch.setattr(search, "MANY_ROWS", ROWS - 1)
    told = why_exact(conn, notes, run_id)
    assert told is not None
    assert told.startswith("exact scan of every row: there is no index; `steam-assets index build notes.body_vector`")


def test_somebody_else_s_index_makes_no_search_lose_rows(conn: connection, notes: TextColumn, run_id: int) -> None:
    """It would answer from the 40 nearest rows of any run."""
    second = change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id >= '005'", run=second)
    execute(conn, "CREATE INDEX ON notes USING hnsw (body_vector vector_cosine_ops)")
    found = nearest(conn, notes, run_id, 10)
    assert (len(found.rows), found.how) == (5, "exact")


def test_a_projected_index_is_asked_only_while_it_has_every_row(conn: connection, connect: Connect) -> None:
    """A row that came after the projection is found all the same, and the person learns why it takes longer."""
    vectors = clustered(200)
    run_id = make_vectors(conn, BY_NUMBER, vectors).run_id
    pca = find_variant("pca")
    projection = ensure_projection(connect, BY_NUMBER, run_id, NUMBERS)
    built = (BY_NUMBER, run_id, NUMBERS, pca, BuildOptions(), lambda _: None)
    build_index(connect, *built, projection_id=projection.projection_id)
    with conn:
        record_recall(conn, BY_NUMBER, pca, 200, 1.0, {})
    query = vectors[7].tolist()
    with snapshot(conn):
        through = find_nearest(conn, BY_NUMBER, run_id, query, 10)
        assert through.how == "hnsw pca"
        assert through.rows == compare_all(conn, BY_NUMBER, run_id, query, 10).rows
        assert why_exact(conn, BY_NUMBER, run_id) is None

    put_vectors(conn, BY_NUMBER, run_id, [1000], vectors[7:8])
    with snapshot(conn):
        found = find_nearest(conn, BY_NUMBER, run_id, query, 10)
        assert (found.how, {row.id for row in found.rows[:2]}) == ("exact", {"7", "1000"})
        assert "rows were written since by_number_body_embedding_pca_hnsw" in (why_exact(conn, BY_NUMBER, run_id) or "")


def test_a_search_reads_one_run_and_counts_what_it_leaves_out(conn: connection, notes: TextColumn) -> None:
    """While a new recipe fills the column, the served run's rows are found and the others counted."""
    add_rows(conn, notes, {f"{n:02}": f"text {n}" for n in range(20)})
    embed(conn, notes)
    first = target_of(conn, notes)
    change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET body = body || ' changed' WHERE id < '05'")
    execute(conn, "DELETE FROM notes WHERE id = '19'")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id < '15'", run=target_of(conn, notes))
    assert {row.id for row in nearest(conn, notes, first, 100).rows} == {f"{n:02}" for n in range(15, 19)}
    assert count_left_out(conn, notes, first, 30) == 15


def test_a_vector_whose_text_changed_is_still_found_until_it_is_replaced(conn: connection, notes: TextColumn) -> None:
    """An old answer is better than none; status says how many are stale."""
    add_rows(conn, notes, {"a": "old"})
    embed(conn, notes)
    set_text(conn, notes, "a", "new")
    assert len(nearest(conn, notes, target_of(conn, notes), 3).rows) == 1


def test_everything_inside_a_snapshot_is_of_one_moment(
    conn: connection, other_conn: connection, notes: TextColumn, run_id: int
) -> None:
    """What others commit meanwhile is seen by the next search."""
    with snapshot(conn):
        before = find_nearest(conn, notes, run_id, QUERY, ROWS).rows
        with other_conn.cursor() as cursor:
            cursor.execute("DELETE FROM notes WHERE id < '200'")
        assert find_nearest(conn, notes, run_id, QUERY, ROWS).rows == before
    assert len(nearest(conn, notes, run_id, ROWS).rows) == 200


@pytest.mark.parametrize("autocommit", [True, False])
def test_nothing_can_be_written_inside_a_snapshot(conn: connection, notes: TextColumn, autocommit: bool) -> None:
    """Whoever injects SQL into a search can change nothing."""
    conn.autocommit = autocommit
    with pytest.raises(errors.ReadOnlySqlTransaction), snapshot(conn):
        fetch_inside(conn, "DELETE FROM notes")
    with snapshot(conn):
        assert fetch_inside(conn, "SHOW transaction_isolation") == "repeatable read"


def test_a_statement_inside_a_snapshot_ends_after_its_time(conn: connection) -> None:
    """A search of a huge table without an index is ended, and the session's own limit is back."""
    with pytest.raises(errors.QueryCanceled), snapshot(conn, timeout_s=0.05):
        fetch_inside(conn, "SELECT pg_sleep(60)")
    assert fetch(conn, "SHOW statement_timeout") == [("30min",)]


def test_a_stored_vector_is_found_by_what_a_person_writes(
    conn: connection, notes: TextColumn, numbered: TextColumn
) -> None:
    """Ids of any kind; what can be no id of the column is no row."""
    add_rows(conn, notes, dict.fromkeys(ODD_IDS, "odd"))
    add_rows(conn, numbered, {7: "seven", 2**62: "huge"})
    for column in (notes, numbered):
        embed(conn, column)
    run_id = target_of(conn, notes)
    for id_ in ODD_IDS:
        assert (stored_vector(conn, notes, run_id, id_) or ("", []))[0] == id_
    found = stored_vector(conn, numbered, run_id, " 007 ")
    assert found is not None
    assert (found[0], len(found[1])) == ("7", DIMENSION)
    assert found[1] == pytest.approx(fetch(conn, "SELECT body_vector::real[] FROM numbered WHERE id = 7")[0][0])
    for no_id in ("8", "seven", "", "1e3", "7; DROP TABLE notes", "9" * 19, "9" * 400, "\u0667", "-7", "7\0"):
        assert stored_vector(conn, numbered, run_id, no_id) is None, no_id
    assert stored_vector(conn, notes, run_id, "a\0b") is None
    assert stored_vector(conn, notes, run_id + 1, "a b") is None


def test_a_row_without_a_vector_is_no_neighbour(conn: connection, notes: TextColumn, run_id: int) -> None:
    """Somebody deleted it by hand, and the run stayed; an index does not have it either."""
    execute(conn, "UPDATE notes SET body_vector = NULL WHERE id < '395'")
    add_index(conn, notes, run_id, DIMENSION)
    found = nearest(conn, notes, run_id, 10)
    assert [row.id for row in found.rows] == [row.id for row in exactly(conn, notes, run_id, 10).rows]
    assert len(found.rows) == 5
    assert stored_vector(conn, notes, run_id, "000") is None
