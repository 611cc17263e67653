"""Vectors of one run are read in the table's order, a short statement at a time, whatever lies between them."""

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.export_rows import VectorCounts, read_vectors, vector_counts
from steam_assets_tests.rows import (
    DIMENSION,
    ODD_IDS,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    tables_in_all_collations,
    target_of,
    vectors_of,
)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three rows."""
    monkeypatch.setattr("steam_assets.store.export_rows.PAGE_ROWS", 3)


def test_every_collation_is_read_in_its_own_order_and_each_id_once(conn: connection, small_pages: None) -> None:
    """Also from the middle on, as a resumed export does."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, {id_: f"text of {id_}" for id_ in ODD_IDS})
        embed(conn, column)
        run_id = target_of(conn, column)
        in_order = [id_ for (id_,) in fetch(conn, f'SELECT id FROM "{column.table}" ORDER BY id')]  # noqa: S608
        pages = list(read_vectors(conn, column, run_id, DIMENSION))
        assert [id_ for page in pages for id_ in page.ids] == in_order
        for page in pages:
            assert page.source_md5 is not None
            assert (page.vectors == vectors_of(page.source_md5)).all()
        rest = read_vectors(conn, column, run_id, DIMENSION, after=str(in_order[4]))
        assert [id_ for page in rest for id_ in page.ids] == in_order[5:]
        conn.rollback()


def test_a_few_rows_of_a_run_are_found_between_many_of_another(
    conn: connection, numbered: TextColumn, small_pages: None
) -> None:
    """The key moves on over rows that are not of the run, page by page."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(50)})
    embed(conn, numbered)
    first = target_of(conn, numbered)
    second = change_recipe(conn, numbered, "second")
    execute(conn, "UPDATE numbered SET embedding_run_id = %(run)s WHERE id IN (20, 49)", run=second)
    execute(conn, "UPDATE numbered SET body_vector = NULL WHERE id < 5")
    assert [page.ids for page in read_vectors(conn, numbered, second, DIMENSION)] == [[20], [49]]
    assert vector_counts(conn, numbered, second) == VectorCounts(2, 43, 5)
    assert vector_counts(conn, numbered, first) == VectorCounts(43, 2, 5)


def test_a_vector_of_another_dimension_than_its_run_is_named(conn: connection, numbered: TextColumn) -> None:
    """A column of no dimension holds what somebody puts there."""
    add_rows(conn, numbered, {7: "text"})
    embed(conn, numbered)
    execute(conn, "ALTER TABLE numbered ALTER COLUMN body_vector TYPE vector")
    execute(conn, "UPDATE numbered SET body_vector = '[1,0]'")
    with pytest.raises(SteamAssetsError, match=r"the vector of 7 has 2 numbers, and its run's have 8"):
        list(read_vectors(conn, numbered, target_of(conn, numbered), DIMENSION))


def test_the_first_rows_of_a_page_are_a_page(conn: connection, numbered: TextColumn) -> None:
    """Ids, digests and vectors are cut alike."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(5)})
    embed(conn, numbered)
    (page,) = read_vectors(conn, numbered, target_of(conn, numbered), DIMENSION)
    cut = page.first(2)
    assert (len(cut), cut.ids) == (2, [0, 1])
    assert cut.source_md5 is not None
    assert np.array_equal(cut.vectors, vectors_of(cut.source_md5))
    assert page.first(5) is page.first(9) is page
