"""Vectors of one run are read as they are stored, in the table's order, all of them or a share by hash."""

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store import vector_pages as module
from steam_assets.store.states import names
from steam_assets.store.vector_pages import count_vectors, sample_of_vectors, vector_pages
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, NUMBERS, add_blank_rows, clustered, make_vectors
from steam_assets_tests.rows import ODD_IDS, execute, fetch

VECTORS = clustered(30)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages of few rows."""
    monkeypatch.setattr(module, "PAGE_ROWS", 8)


def test_every_vector_comes_once_bit_for_bit_and_in_order(conn: connection) -> None:
    """The order is the table's, whatever its collation makes of odd ids."""
    vectors = clustered(len(ODD_IDS))
    run = make_vectors(conn, BY_NAME, vectors, ODD_IDS)
    pages = list(vector_pages(conn, BY_NAME, run.run_id, NUMBERS))
    ids = [id_ for page in pages for id_ in page.ids]
    assert ids == [id_ for (id_,) in fetch(conn, 'SELECT "the id" FROM "by name" ORDER BY 1')]
    of_id = dict(zip(ODD_IDS, vectors, strict=True))
    expected = np.array([of_id[str(id_)] for id_ in ids])
    assert np.concatenate([page.vectors for page in pages]).tobytes() == expected.tobytes()
    assert len(pages) > 2


def test_rows_of_other_runs_and_without_a_vector_are_left_out(conn: connection) -> None:
    """Vectors of two runs must not be compared."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    add_blank_rows(conn, BY_NUMBER, [100])
    execute(conn, sql.SQL("UPDATE {table} SET {run} = NULL WHERE {id} < 10").format(**names(BY_NUMBER)))
    assert [id_ for page in vector_pages(conn, BY_NUMBER, run.run_id, NUMBERS) for id_ in page.ids] == [*range(10, 30)]
    assert count_vectors(conn, BY_NUMBER, run.run_id) == 20
    assert len(sample_of_vectors(conn, BY_NUMBER, run.run_id, NUMBERS, 50).ids) == 20


def test_half_precision_is_read_as_single(conn: connection) -> None:
    """As near as half precision is."""
    run = make_vectors(conn, BY_NUMBER, VECTORS, kind="halfvec")
    read = np.concatenate([page.vectors for page in vector_pages(conn, BY_NUMBER, run.run_id, NUMBERS)])
    assert read.dtype == np.float32
    assert np.abs(read - VECTORS).max() < 1e-3


@pytest.mark.parametrize("column", [BY_NUMBER, BY_NAME], ids=["bigint id", "text id"])
def test_a_sample_and_a_share_are_the_same_each_time_and_spread_over_the_table(
    conn: connection, column: TextColumn
) -> None:
    """By hash of the id; the vectors are those of the ids."""
    vectors = clustered(200)
    ids = list(range(200)) if column is BY_NUMBER else [f"{n:03}" for n in range(200)]
    run = make_vectors(conn, column, vectors, ids)
    sample = sample_of_vectors(conn, column, run.run_id, NUMBERS, 20)
    assert len(sample.ids) == 20
    assert list(sample.ids) == list(sample_of_vectors(conn, column, run.run_id, NUMBERS, 20).ids)
    places = [int(id_) for id_ in sample.ids]
    assert places == sorted(places)
    assert places[-1] - places[0] > 100
    assert sample.vectors.tobytes() == vectors[places].tobytes()
    share = [int(id_) for page in vector_pages(conn, column, run.run_id, NUMBERS, 0.3) for id_ in page.ids]
    assert 35 <= len(share) <= 85
    assert share == [int(id_) for page in vector_pages(conn, column, run.run_id, NUMBERS, 0.3) for id_ in page.ids]


def test_vectors_that_have_not_the_run_s_numbers_are_refused(conn: connection) -> None:
    """A column without a dimension of its own may hold any."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    with pytest.raises(SteamAssetsError, match=r"have not the 31 numbers of their run.+steam-assets status by_number"):
        list(vector_pages(conn, BY_NUMBER, run.run_id, NUMBERS - 1))
