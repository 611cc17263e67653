"""Every variant is measured against exact search, on a copy, and what was found is kept with the run."""

from dataclasses import replace

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes import timing
from steam_assets.indexes.measure import MeasureOptions, measure_column, measure_variants
from steam_assets.store.variant_records import VariantFigures, latest_measurement
from steam_assets.store.variants import VARIANTS, find_variant
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, clustered, make_vectors
from steam_assets_tests.rows import Connect, execute, fetch, table_digest
from steam_assets_tests.test_measured_copy import COPIES

ROWS = 400
VECTORS = clustered(ROWS)
OPTIONS = MeasureOptions(queries=30, ef_search=(20, 100), limit_s=1.0)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are timed for a moment."""
    monkeypatch.setattr(timing, "CLIENTS_S", 0.05)


def of(figures: tuple[VariantFigures, ...] | list[VariantFigures], variant: str) -> list[VariantFigures]:
    """The rows of a variant."""
    return [row for row in figures if row.variant == variant]


@pytest.mark.parametrize(
    ("column", "kind", "key"),
    [(BY_NUMBER, "vector", "bigint"), (BY_NAME, "halfvec", 'text COLLATE "C"')],
    ids=["vector", "halfvec"],
)
def test_a_column_s_variants_are_measured_and_kept(
    conn: connection, connect: Connect, column: TextColumn, kind: str, key: str
) -> None:
    """The exact row first, then each variant; nothing of the column is touched and nothing stays behind."""
    ids = list(range(ROWS)) if column is BY_NUMBER else [f"it's {n}" for n in range(ROWS)]
    run = make_vectors(conn, column, VECTORS, ids, kind, key)
    before = table_digest(conn, column)
    told: list[str] = []
    measured = measure_column(connect, column, OPTIONS, told.append, "a run of Dagster's")

    assert latest_measurement(conn, column, run.run_id) == measured
    figures = measured.figures
    assert list(dict.fromkeys(row.variant for row in figures)) == ["exact", *(v.name for v in VARIANTS)]
    (exact,) = of(figures, "exact")
    assert (exact.recall_10, exact.recall_100, exact.rows, exact.bytes) == (1.0, 1.0, ROWS - 30, 0)
    for row in figures:
        assert 0 < row.ms_p50 <= row.ms_p95
        assert (row.queries_per_s > 0, row.queries_per_s_of_clients > 0, row.queries) == (True, True, 30)
    for name, least in {"vector": 0.99, "halfvec": 0.99, "bit": 0.9, "pca": 0.99, "truncated": 0.5}.items():
        best = of(figures, name)[-1]
        assert best.recall_10 >= least, name
        assert (best.m, best.ef_construction, best.bytes > 0, best.seconds > 0) == (16, 64, True, True)
    assert fetch(conn, COPIES) == []
    assert fetch(conn, "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(0,)]
    assert table_digest(conn, column) == before
    assert any("bit, ef_search 100" in line for line in told)


def test_ef_search_grows_until_the_recall_is_reached(conn: connection, connect: Connect) -> None:
    """With a variant that reaches it at once there is one row; one that never does goes through the list."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    options = replace(OPTIONS, variants=[find_variant("vector"), find_variant("truncated")], ef_search=(20, 60, 200))
    reached = list(measure_variants(connect, BY_NUMBER, run, replace(options, recall=0.3)))
    assert [(row.variant, row.ef_search) for row in reached] == [("exact", None), ("vector", 20), ("truncated", 50)]
    never = list(measure_variants(connect, BY_NUMBER, run, replace(options, recall=1.01)))
    assert [row.ef_search for row in never] == [None, 20, 60, 200, 50, 60, 200]
    recalls = [row.recall_10 for row in of(never, "vector")]
    assert recalls[0] <= recalls[-1] == 1.0


def test_rows_of_other_runs_are_not_measured(conn: connection, connect: Connect) -> None:
    """Nor are those that have no vector."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    execute(conn, "UPDATE by_number SET embedding_run_id = NULL WHERE id % 2 = 0")
    (exact,) = measure_variants(connect, BY_NUMBER, run, replace(OPTIONS, variants=[]))
    assert (exact.rows, exact.queries) == (180, 20)


def test_a_sample_measures_fewer_rows(conn: connection, connect: Connect) -> None:
    """The row says how many; recall is against what was copied."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    options = replace(OPTIONS, variants=[find_variant("halfvec")], sample=200)
    exact, halfvec = measure_variants(connect, BY_NUMBER, run, options)
    assert exact.rows == halfvec.rows
    assert 140 <= exact.rows <= 240
    assert (exact.recall_10, halfvec.recall_10 > 0.95) == (1.0, True)
    with pytest.raises(SteamAssetsError, match=r"sample of 1 of the 400 .+ at least 20 .+ --sample 0 copies all"):
        list(measure_variants(connect, BY_NUMBER, run, replace(options, sample=1)))


def test_columns_without_vectors_or_a_serving_run_are_refused(conn: connection, connect: Connect) -> None:
    """With the next command."""
    make_vectors(conn, BY_NUMBER, VECTORS[:7])
    for _ in ("serves searches", "is a challenger"):
        with pytest.raises(SteamAssetsError, match=r"7 vectors of run \d+; expected at least 20.+steam-assets embed"):
            measure_column(connect, BY_NUMBER, OPTIONS)
        execute(conn, "UPDATE embedding_columns SET serving_run_id = NULL")
    execute(conn, "UPDATE embedding_columns SET target_run_id = NULL")
    with pytest.raises(SteamAssetsError, match=r"serves no run.+steam-assets embed by_number\.body_embedding"):
        measure_column(connect, BY_NUMBER, OPTIONS)


def test_a_variant_that_pgvector_does_not_build_of_so_many_numbers_is_left_out(
    conn: connection, connect: Connect
) -> None:
    """Whole vectors of more than 2,000 numbers; halves, bits and PCA go further."""
    run = make_vectors(conn, BY_NUMBER, clustered(40, numbers=2_100))
    figures = list(measure_variants(connect, BY_NUMBER, run, replace(OPTIONS, recall=0.1, ef_search=(20,))))
    assert [row.variant for row in figures] == ["exact", "halfvec", "bit", "pca", "truncated"]


def test_figures_hold_numbers_that_agree_with_each_other(conn: connection, connect: Connect) -> None:
    """An index of bits is smaller than one of halves, and that smaller than one of whole vectors."""
    run = make_vectors(conn, BY_NUMBER, clustered(300, numbers=256))
    figures = list(measure_variants(connect, BY_NUMBER, run, replace(OPTIONS, recall=0.1)))
    sizes = {row.variant: row.bytes for row in figures}
    assert sizes["bit"] < sizes["truncated"] < sizes["halfvec"] < sizes["vector"]
    assert sizes["truncated"] < sizes["pca"]  # with its side table
