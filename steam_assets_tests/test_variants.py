"""Every variant's row gives an index and a query that fit each other, on columns of either type of vector."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.pca import fit
from steam_assets.indexes.timing import BY_INDEX
from steam_assets.store.projected_rows import project_rows
from steam_assets.store.projections import Fitted
from steam_assets.store.states import names
from steam_assets.store.variants import (
    MAX_EF_SEARCH,
    VARIANTS,
    SearchIndex,
    Variant,
    find_variant,
    nearest_exactly,
    nearest_through,
    short_dimension,
)
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, NUMBERS, add_blank_rows, clustered, make_vectors
from steam_assets_tests.rows import fetch

ROWS = 400
SIDE_TABLE = "embedding_projected_1"
VECTORS = clustered(ROWS + 20)
QUERIES = VECTORS[ROWS:]
FITTED = fit([VECTORS[:ROWS]], NUMBERS, short_dimension(NUMBERS))


@contextmanager
def indexed(conn: connection, column: TextColumn, run_id: int, variant: Variant) -> Iterator[SearchIndex]:
    """The column with an index of this variant, built by its own row; searches of ``conn`` prefer it."""
    conn.rollback()
    conn.autocommit = True
    source, value, of_run = sql.Identifier(column.table), sql.Identifier(column.vector), " WHERE {run} = {run_id}"
    if variant.projected:
        project_rows(conn, column, run_id, FITTED, SIDE_TABLE)
        source, value, of_run = sql.Identifier(SIDE_TABLE), sql.Identifier("projected"), ""
    create = sql.SQL("CREATE INDEX near ON {source} USING hnsw ({key} {operator_class})" + of_run).format(
        source=source,
        key=variant.key(value, NUMBERS),
        operator_class=sql.SQL(variant.operator_class),
        run=sql.Identifier(column.run),
        run_id=sql.Literal(run_id),
    )
    with conn.cursor() as cursor:
        cursor.execute(create)
        cursor.execute(BY_INDEX, (100,))
        yield SearchIndex("near", variant, 100, SIDE_TABLE if variant.projected else None)
        cursor.execute("DROP INDEX near")
        cursor.execute("RESET ALL")
    conn.autocommit = False


def projected(variant: Variant, query: list[float], fitted: Fitted = FITTED) -> list[float] | None:
    """The query as the variant wants it."""
    return fitted.project(query) if variant.projected else None


def test_a_query_goes_through_the_index_of_its_row(conn: connection) -> None:
    """Were the expressions another's, or another type's, the plan would sort every row. Columns of halves too."""
    ids = [f"id {n}" for n in range(ROWS)]
    run = make_vectors(conn, BY_NAME, VECTORS[:ROWS], ids, "halfvec")
    query = QUERIES[0].tolist()
    for variant in VARIANTS:
        with indexed(conn, BY_NAME, run.run_id, variant) as index:
            statement = nearest_through(index, BY_NAME, run.run_id, query, 5, projected_query=projected(variant, query))
            plan = "\n".join(str(line) for (line,) in fetch(conn, sql.SQL("EXPLAIN {}").format(statement)))
            assert "Index Scan using near" in plan, f"{variant.name}: {plan}"


def test_hits_are_those_of_the_exact_search_whatever_the_variant(conn: connection) -> None:
    """Re-ranked by the stored vectors; rows without a vector, and those of another run, are no hits."""
    run = make_vectors(conn, BY_NUMBER, VECTORS[:ROWS])
    add_blank_rows(conn, BY_NUMBER, [-1, -2])
    other = sql.SQL("UPDATE {table} SET {run} = NULL WHERE {id} % 7 = 0").format(**names(BY_NUMBER))
    with conn, conn.cursor() as cursor:
        cursor.execute(other)
    for variant in VARIANTS:
        with indexed(conn, BY_NUMBER, run.run_id, variant) as index:
            recalls = []
            for query in QUERIES.tolist():
                exact = fetch(conn, nearest_exactly(BY_NUMBER, run.run_id, query, 10))
                statement = nearest_through(
                    index, BY_NUMBER, run.run_id, query, 10, projected_query=projected(variant, query)
                )
                found = fetch(conn, statement)
                assert len(found) == 10
                assert all(int(str(id_)) % 7 for id_, _ in found)
                cosines = [float(str(cosine)) for _, cosine in found]
                assert cosines == sorted(cosines, reverse=True)
                recalls.append(len({id_ for id_, _ in found} & {id_ for id_, _ in exact}) / 10)
            assert np.mean(recalls) >= (0.9 if variant.name == "truncated" else 0.98), variant.name


def test_exact_search_compares_every_row_though_an_index_would_do(conn: connection) -> None:
    """It is what indexes are measured against."""
    run = make_vectors(conn, BY_NUMBER, VECTORS[:ROWS])
    with indexed(conn, BY_NUMBER, run.run_id, find_variant("vector")):
        statement = nearest_exactly(BY_NUMBER, run.run_id, QUERIES[0].tolist(), 5)
        plan = "\n".join(str(line) for (line,) in fetch(conn, sql.SQL("EXPLAIN {}").format(statement)))
    assert "using near" not in plan


def test_exact_search_is_what_numpy_finds(conn: connection) -> None:
    """Ids, cosines, and their order."""
    run = make_vectors(conn, BY_NUMBER, VECTORS[:ROWS])
    found = fetch(conn, nearest_exactly(BY_NUMBER, run.run_id, QUERIES[0].tolist(), 10))
    cosines = VECTORS[:ROWS] @ QUERIES[0]
    expected = np.argsort(-cosines)[:10]
    assert [int(str(id_)) for id_, _ in found] == expected.tolist()
    assert [float(str(cosine)) for _, cosine in found] == pytest.approx(cosines[expected].tolist(), abs=1e-5)


def test_candidates_are_all_that_the_index_looks_at_where_they_are_ordered_again() -> None:
    """A larger ef_search is then a better recall too; an index of whole vectors gives the hits themselves."""
    bit, halfvec = find_variant("bit"), find_variant("halfvec")
    assert [SearchIndex("", bit, ef).candidates(10) for ef in (20, 400)] == [100, 400]
    assert SearchIndex("", halfvec, 400).candidates(10) == 10
    assert [SearchIndex("", bit, ef).least_ef_search(10) for ef in (20, 400)] == [100, 400]
    assert SearchIndex("", halfvec, 40).least_ef_search(100) == 100
    assert SearchIndex("", bit, 40).least_ef_search(500) == MAX_EF_SEARCH


def test_a_variant_that_is_none_is_refused_with_those_there_are() -> None:
    """The names are what people type."""
    with pytest.raises(SteamAssetsError, match=r"'int8' is no variant.+vector, halfvec, bit, pca, truncated"):
        find_variant("int8")


@pytest.mark.parametrize(("dimension", "short"), [(1024, 256), (384, 256), (256, 128), (32, 16), (1, 1)])
def test_shortened_vectors_have_a_quarter_of_1024_numbers_and_fewer_of_small_ones(dimension: int, short: int) -> None:
    """Never as many as before, except of one number."""
    assert short_dimension(dimension) == short
