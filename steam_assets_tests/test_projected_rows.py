"""Side tables hold every vector of their run, projected, under any id; what did not get done leaves nothing."""

from contextlib import closing

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.pca import ensure_projection, fit
from steam_assets.store import projected_rows as module
from steam_assets.store.projected_rows import (
    WrittenMeanwhile,
    drop_unused_projections,
    fill_projection,
    payload,
    project_rows,
)
from steam_assets.store.projections import record_projection
from steam_assets.store.side_tables import drop_leftovers
from steam_assets.store.vector_pages import RunVectors, vector_pages
from steam_assets_tests.made_up_vectors import (
    BY_NAME,
    BY_NUMBER,
    NUMBERS,
    add_blank_rows,
    clustered,
    make_vectors,
    put_vectors,
)
from steam_assets_tests.rows import ODD_IDS, Connect, execute, fetch
from steam_assets_tests.servers import stranger

VECTORS = clustered(50)
FITTED = fit([VECTORS], NUMBERS, 4)


def side_tables(conn: connection) -> list[tuple[object, ...]]:
    """Names of the side tables that are there."""
    return fetch(conn, "SELECT relname FROM pg_class WHERE relname ~ '^embedding_projected_' AND relkind = 'r'")


@pytest.mark.parametrize("key", ["text", 'text COLLATE "C"', "varchar(3000)"])
def test_odd_text_ids_find_their_rows_again(conn: connection, key: str) -> None:
    """Quotes, newlines, empty and long ids; the side table's id has the type and the collation of the column's."""
    vectors = clustered(len(ODD_IDS))
    run = make_vectors(conn, BY_NAME, vectors, ODD_IDS, key=key)
    conn.autocommit = True
    project_rows(conn, BY_NAME, run.run_id, FITTED, "embedding_projected_7")
    found = fetch(conn, "SELECT id, projected::vector::real[] FROM embedding_projected_7")
    expected = dict(zip(ODD_IDS, FITTED.project_rows(vectors), strict=True))
    assert {id_ for id_, _ in found} == set(ODD_IDS)
    for id_, projected in found:
        assert isinstance(projected, list)
        assert np.abs(np.array(projected) - expected[str(id_)]).max() < 1e-3
    joined = 'SELECT count(*) FROM embedding_projected_7 AS p JOIN "by name" AS t ON t."the id" = p.id'
    assert fetch(conn, joined) == [(len(ODD_IDS),)]


@pytest.mark.parametrize(("key", "kind"), [("bigint", "vector"), ("integer", "halfvec"), ("smallint", "vector")])
def test_integer_ids_and_half_precision_are_projected_too(conn: connection, key: str, kind: str) -> None:
    """COPY sends eight bytes, whatever the column's integers have; rows without a vector are not there."""
    run = make_vectors(conn, BY_NUMBER, VECTORS, kind=kind, key=key)
    add_blank_rows(conn, BY_NUMBER, [1000])
    conn.autocommit = True
    project_rows(conn, BY_NUMBER, run.run_id, FITTED, "embedding_projected_7")
    found = fetch(conn, "SELECT id, projected::vector::real[] FROM embedding_projected_7 ORDER BY id")
    assert [id_ for id_, _ in found] == list(range(50))
    assert np.abs(np.array([row for _, row in found]) - FITTED.project_rows(VECTORS)).max() < 5e-3


def test_whoever_may_read_the_vectors_may_read_what_was_made_of_them(conn: connection, connect: Connect) -> None:
    """A searching role has rights on columns; one that may not read vectors may not read these."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    with stranger(conn) as searching, stranger(conn) as passing_by:
        execute(conn, f"GRANT SELECT (id, body_embedding) ON by_number TO {searching}")
        made = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
        allowed = "SELECT has_table_privilege(%(role)s, %(table)s, 'SELECT')"
        assert fetch(conn, allowed, role=searching, table=made.table) == [(True,)]
        assert fetch(conn, allowed, role=passing_by, table=made.table) == [(False,)]
        execute(conn, "GRANT SELECT ON by_number TO PUBLIC")
        put_vectors(conn, BY_NUMBER, run.run_id, [50], clustered(1))
        open_to_all = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
        assert fetch(conn, allowed, role=passing_by, table=open_to_all.table) == [(True,)]


def test_a_page_is_binary_copy_s_rows_with_half_floats() -> None:
    """Field count, length and id, length and vector; then the end."""
    (body,) = {payload([258], np.array([[1.0, -2.0]], dtype=np.float32))[19:]}
    assert body.hex(" ", -2) == "0002 0000 0008 0000 0000 0000 0102 0000 0008 0002 0000 3c00 c000 ffff"


def test_a_row_that_comes_meanwhile_is_noticed_though_nobody_recorded_it(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing when all is read back, and nothing of the attempt stays."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)

    def pages_and_a_write(conn: connection, column: TextColumn, run_id: int, dimension: int) -> list[RunVectors]:
        read = list(vector_pages(conn, column, run_id, dimension))
        with closing(connect()) as other:
            by_hand = (
                "INSERT INTO by_number SELECT 77, body, body_embedding, embedding_run_id FROM by_number WHERE id = 7"
            )
            execute(other, by_hand)
        return read

    monkeypatch.setattr(module, "vector_pages", pages_and_a_write)
    with pytest.raises(WrittenMeanwhile, match=r"1 rows are missing.+index build by_number\.body_embedding"):
        ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    assert side_tables(conn) == []
    assert fetch(conn, "SELECT count(*) FROM embedding_projections") == [(0,)]


def test_a_row_that_gets_another_vector_meanwhile_is_noticed_too(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is in the side table with what it was: only the attempts on record tell."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)

    def pages_and_a_write(conn: connection, column: TextColumn, run_id: int, dimension: int) -> list[RunVectors]:
        read = list(vector_pages(conn, column, run_id, dimension))
        with closing(connect()) as other:
            put_vectors(other, column, run_id, [7], clustered(1))
        return read

    monkeypatch.setattr(module, "vector_pages", pages_and_a_write)
    with pytest.raises(WrittenMeanwhile, match=r"was written to while its vectors were projected\. Run"):
        ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)


def test_a_side_table_that_is_being_filled_is_nobody_s_leftover(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who read the records just before it had one, for another column, leaves it alone."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    dropped: list[str] = []

    def pages_and_a_look(conn: connection, column: TextColumn, run_id: int, dimension: int) -> list[RunVectors]:
        with closing(connect()) as other:
            other.autocommit = True
            dropped.extend(drop_leftovers(other, module.PATTERN))
        return list(vector_pages(conn, column, run_id, dimension))

    monkeypatch.setattr(module, "vector_pages", pages_and_a_look)
    made = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    assert dropped == []
    conn.autocommit = True
    assert drop_leftovers(conn, module.PATTERN) == [made.table]


def test_an_interrupted_fill_leaves_neither_table_nor_record(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of it."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    conn.autocommit = True
    projection = record_projection(conn, BY_NUMBER, run.run_id, FITTED)

    def interrupted(*_: object) -> list[RunVectors]:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "vector_pages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill_projection(conn, BY_NUMBER, projection)
    assert side_tables(conn) == []
    assert fetch(conn, "SELECT count(*) FROM embedding_projections") == [(0,)]


def test_what_killed_processes_left_and_what_no_index_is_over_goes(conn: connection, connect: Connect) -> None:
    """The newest filled one stays for the index that is to be built; other columns' stay as they are."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    of_others = make_vectors(conn, BY_NAME, VECTORS, [f"{n}" for n in range(50)])
    old = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    elsewhere = ensure_projection(connect, BY_NAME, of_others.run_id, NUMBERS)
    put_vectors(conn, BY_NUMBER, run.run_id, [50], clustered(1))
    newest = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    conn.autocommit = True
    half = record_projection(conn, BY_NUMBER, run.run_id, FITTED)
    execute(conn, f"CREATE TABLE {half.table} (id bigint); CREATE TABLE embedding_projected_999 (id bigint)")

    dropped = drop_unused_projections(conn, BY_NUMBER)
    assert dropped == [old.projection_id, half.projection_id]
    assert sorted(side_tables(conn)) == sorted([(elsewhere.table,), (newest.table,)])
    assert drop_unused_projections(conn, BY_NUMBER) == []


def test_every_vector_of_the_run_has_its_row_in_the_order_of_the_table(conn: connection) -> None:
    """Several pages of it."""
    vectors = clustered(90)
    run = make_vectors(conn, BY_NAME, vectors, [f"{n}" for n in range(90)])
    conn.autocommit = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steam_assets.store.vector_pages.PAGE_ROWS", 40)
        pages = list(vector_pages(conn, BY_NAME, run.run_id, NUMBERS))
        project_rows(conn, BY_NAME, run.run_id, FITTED, "embedding_projected_7")
    assert [len(page.ids) for page in pages] == [40, 40, 10]
    assert fetch(conn, "SELECT count(*) FROM embedding_projected_7") == [(90,)]
