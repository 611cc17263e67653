"""Recall is what an index finds of the nearest rows, and ef_search is the least that finds enough of them."""

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.recall import (
    MeasuredRecall,
    RecallPoint,
    ef_searches,
    measure_recall,
    recall_asked,
    without_itself,
)
from steam_assets.store.hnsw_build import BuildOptions
from steam_assets.store.variants import SearchIndex, find_variant
from steam_assets_tests.indexed_rows import HALFVEC, built, fill
from steam_assets_tests.rows import DIMENSION, Connect, execute


def measure(
    connect: Connect, column: TextColumn, run_id: int, variant: str = "halfvec", queries: int = 100
) -> MeasuredRecall:
    """The recall of the column's index of this variant."""
    chosen = find_variant(variant)
    index = SearchIndex(f"numbered_body_vector_{variant}_hnsw", chosen, 0)
    return measure_recall(connect, column, run_id, DIMENSION, index, 0.99, queries=queries)


def points(*recalls: float) -> MeasuredRecall:
    """Measured at ef_search 20, 40, ..."""
    found = tuple(RecallPoint(20 * (n + 1), recall, 1.0, 2.0) for n, recall in enumerate(recalls))
    return MeasuredRecall(10, 200, 0.99, found, None)


def test_the_least_ef_search_that_surely_finds_enough_is_chosen() -> None:
    """Latency grows with it; 0.99 of 2,000 places may be luck, 0.995 is not. Where none finds enough, the best."""
    assert points(0.9, 0.995, 0.999).chosen.ef_search == 40
    assert points(0.9, 0.991, 0.999).chosen.ef_search == 60
    assert points(0.9, 0.99, 0.991).chosen.ef_search == 60
    assert points(1.0, 1.0).chosen.ef_search == 20
    assert points(0.9, 0.97, 0.98).chosen.ef_search == 60
    assert points(0.9, 0.98, 0.98).chosen.ef_search == 40


def test_an_index_of_few_rows_finds_them_all(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Every ef_search is tried, each with its latency; the server goes through our index."""
    run_id = fill(conn, numbered, 300)
    built(connect, numbered, run_id)
    measured = measure(connect, numbered, run_id)
    assert [point.ef_search for point in measured.points] == [20, 40, 64, 100, 200, 400]
    assert measured.chosen.recall >= 0.99
    assert measured.queries == 100
    assert measured.other_index is None
    assert all(0 < point.p50_ms <= point.p95_ms for point in measured.points)


def test_a_poor_graph_has_poor_recall_that_grows_with_ef_search(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Two neighbours for each of 2,000 rows lead nowhere at first."""
    run_id = fill(conn, numbered, 2_000)
    built(connect, numbered, run_id, options=BuildOptions(m=2, ef_construction=4))
    measured = measure(connect, numbered, run_id)
    first, *_, last = measured.points
    assert first.recall < 0.95
    assert last.recall > first.recall


def test_bits_are_measured_as_searches_ask_them(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Ten candidates for a hit: an ef_search below that is never used, and is not tried."""
    run_id = fill(conn, numbered, 300)
    built(connect, numbered, run_id, "bit")
    measured = measure(connect, numbered, run_id, "bit")
    assert [point.ef_search for point in measured.points] == ef_searches(find_variant("bit")) == [110, 200, 400]


def test_rows_that_repeat_are_equally_near(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Which of twenty equal texts are found is nobody's mistake."""
    run_id = fill(conn, numbered, 60)
    execute(conn, "UPDATE numbered SET body_vector = (SELECT body_vector FROM numbered WHERE id = 1) WHERE id <= 20")
    built(connect, numbered, run_id)
    assert measure(connect, numbered, run_id).chosen.recall >= 0.99


@pytest.mark.parametrize("rows", [1, 2, 5, 11])
def test_a_column_of_fewer_rows_than_are_asked_for_is_measured(
    conn: connection, connect: Connect, numbered: TextColumn, rows: int
) -> None:
    """All the others are the nearest, and all are found; one alone can miss nothing."""
    run_id = fill(conn, numbered, rows)
    built(connect, numbered, run_id)
    measured = measure(connect, numbered, run_id)
    assert measured.chosen.recall == 1
    assert measured.queries == rows


def test_an_index_that_somebody_else_built_is_named_where_the_server_prefers_it(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """A smaller one of the same expression: what searches find is what that one holds."""
    run_id = fill(conn, numbered, 200)
    built(connect, numbered, run_id)
    execute(conn, "ALTER INDEX numbered_body_vector_halfvec_hnsw RENAME TO theirs")
    assert measure(connect, numbered, run_id, queries=5).other_index == "theirs"


def test_a_row_is_not_counted_as_its_own_neighbour() -> None:
    """It comes first, or was not found, and then the last is one too many."""
    assert without_itself([1.0, 0.9, 0.8]) == [0.9, 0.8]
    assert without_itself(np.linspace(0.9, 0.8, 11).tolist()) == np.linspace(0.9, 0.8, 11).tolist()[:10]
    assert without_itself([]) == []


def test_the_recall_asked_for_is_the_word_given_then_the_setting_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of 1; percent are refused."""
    assert recall_asked() == 0.99
    monkeypatch.setenv("STEAM_ASSETS_RECALL", "0.95")
    assert recall_asked() == 0.95
    assert recall_asked(0.9) == 0.9
    monkeypatch.setenv("STEAM_ASSETS_RECALL", "95")
    with pytest.raises(SteamAssetsError, match="recall asked for is 95; expected a share above 0, at most 1"):
        recall_asked()


def test_what_is_tried_is_what_searches_use() -> None:
    """An index asked for k rows looks at no fewer."""
    for ef_search in ef_searches(HALFVEC):
        assert SearchIndex("", HALFVEC, ef_search).least_ef_search(10) == ef_search
