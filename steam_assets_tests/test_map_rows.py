"""Rows for a map come from one run, each once, with what people call them."""

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.store import map_rows
from steam_assets.store.map_rows import (
    MapCounts,
    MapPage,
    MapRows,
    count_map_rows,
    find_labels,
    read_map_pages,
    read_map_texts,
)
from steam_assets_tests.rows import (
    DIMENSION,
    add_reviews,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    set_text,
    tables_in_all_collations,
    target_of,
)

ALL = 1_000_000


def rows_of(conn: connection, column: TextColumn, run_id: int, dimension: int = DIMENSION) -> MapRows:
    """The rows of a run."""
    return MapRows(column, run_id, dimension, find_labels(conn, column))


def read_all(conn: connection, column: TextColumn, run_id: int, sample: int = ALL) -> MapPage:
    """All pages as one."""
    pages = list(read_map_pages(conn, rows_of(conn, column, run_id), sample))
    return MapPage(
        [id_ for page in pages for id_ in page.ids],
        [name for page in pages for name in page.names],
        [groups for page in pages for groups in page.groups],
        np.concatenate([page.vectors for page in pages]) if pages else np.empty((0, DIMENSION), dtype=np.float32),
    )


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a test have several pages."""
    monkeypatch.setattr(map_rows, "PAGE_ROWS", 4)


def test_the_vectors_read_are_the_vectors_stored(conn: connection, numbered: TextColumn) -> None:
    """Number for number, in the order of the ids, each row once over all pages."""
    add_rows(conn, numbered, {7 * n: f"text {n}" for n in range(1, 12)})
    embed(conn, numbered)
    stored = fetch(conn, "SELECT id::text, body_vector::real[] FROM numbered ORDER BY numbered.id")

    page = read_all(conn, numbered, target_of(conn, numbered))
    assert page.ids == [id_ for id_, _ in stored]
    np.testing.assert_array_equal(page.vectors, np.array([vector for _, vector in stored], dtype=np.float32))


def test_ids_of_any_collation_are_each_read_once(conn: connection) -> None:
    """Pages go on where the table's own order does."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, {id_: f"about {id_}" for id_ in ("a", "B", "é", "Z", "z", "~", "%", "10", "9", "日本")})
        embed(conn, column)
        assert sorted(read_all(conn, column, target_of(conn, column)).ids) == sorted(
            ["a", "B", "é", "Z", "z", "~", "%", "10", "9", "日本"]
        ), column


def test_rows_of_another_run_are_not_read_but_counted(conn: connection, numbered: TextColumn) -> None:
    """A map never shows vectors of two models; blank rows are nobody's loss."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 7)})
    embed(conn, numbered)
    old = target_of(conn, numbered)
    add_rows(conn, numbered, {7: "new", 8: "  ", 9: None})
    new = change_recipe(conn, numbered, "second")
    execute(conn, "UPDATE numbered SET embedding_run_id = %(run)s WHERE id IN (2, 3)", run=new)

    assert read_all(conn, numbered, old).ids == ["1", "4", "5", "6"]
    assert read_all(conn, numbered, new).ids == ["2", "3"]
    assert count_map_rows(conn, numbered, old) == MapCounts(embedded=4, left_out=3)
    assert count_map_rows(conn, numbered, new) == MapCounts(embedded=2, left_out=5)


def test_a_sample_has_the_size_asked_for_and_is_the_same_each_time(conn: connection, numbered: TextColumn) -> None:
    """A smaller one is part of a larger one, and it is not simply the first rows."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 41)})
    embed(conn, numbered)
    run_id = target_of(conn, numbered)
    small, large = (read_all(conn, numbered, run_id, sample).ids for sample in (10, 20))

    assert len(small) == 10
    assert len(large) == 20
    assert set(small) < set(large)
    assert small == read_all(conn, numbered, run_id, 10).ids
    assert max(map(int, small)) > 20
    assert len(read_all(conn, numbered, run_id, 40).ids) == len(read_all(conn, numbered, run_id, 41).ids) == 40
    assert set(read_map_texts(conn, rows_of(conn, numbered, run_id), 10)) == set(small)


def test_vectors_of_another_length_are_passed_over(conn: connection, numbered: TextColumn) -> None:
    """A column whose type says no length can hold any; one such row does not shift the others' numbers."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 7)})
    embed(conn, numbered)
    execute(conn, "ALTER TABLE numbered ALTER COLUMN body_vector TYPE vector")
    execute(conn, "UPDATE numbered SET body_vector = '[1, 0, 0]' WHERE id = 3")

    page = read_all(conn, numbered, target_of(conn, numbered))
    assert page.ids == ["1", "2", "4", "5", "6"]
    np.testing.assert_allclose(np.linalg.norm(page.vectors, axis=1), 1.0, atol=1e-5)


def test_half_precision_columns_are_read_as_vectors(conn: connection, numbered: TextColumn) -> None:
    """A column of halfvec is a vector column too."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 4)})
    embed(conn, numbered)
    execute(conn, f"ALTER TABLE numbered ALTER COLUMN body_vector TYPE halfvec({DIMENSION})")

    page = read_all(conn, numbered, target_of(conn, numbered))
    np.testing.assert_allclose(np.linalg.norm(page.vectors, axis=1), 1.0, atol=1e-2)


def test_applications_have_names_and_genres(conn: connection) -> None:
    """The name or else the start of the text without its markup, and genres in the order of their ids."""
    execute(conn, "INSERT INTO embedding_runs (run_id, model_name, dimension) VALUES (1, 'made-up', 384)")
    execute(
        conn,
        """
        INSERT INTO applications (appid, name, short_description, description_embedding, embedding_run_id)
        SELECT appid, name, description, array_fill(1, ARRAY[384])::vector, 1
        FROM (VALUES (10, 'Lantern Valley', 'A farm'), (20, ' ', '<b>Trains</b>  &amp; time')) AS
             row (appid, name, description)
        """,
    )
    execute(conn, "INSERT INTO genres (id, name) VALUES (1, 'Action'), (2, 'RPG'), (3, 'Инди')")
    execute(conn, "INSERT INTO application_genres (appid, genre_id) VALUES (10, 3), (10, 1)")
    labels = find_labels(conn, APPLICATIONS)
    (page,) = read_map_pages(conn, MapRows(APPLICATIONS, 1, 384, labels), ALL)

    assert labels.noun == "genre"
    assert page.names == ["Lantern Valley", "Trains &amp; time"]
    assert page.groups == [("Action", "Инди"), ()]


def test_reviews_have_the_start_of_their_text_and_their_language(conn: connection) -> None:
    """And nothing of who wrote them."""
    add_reviews(conn, {"r1": "So  cozy.\n" * 50, "r2": "Nice"})
    execute(conn, "INSERT INTO embedding_runs (run_id, model_name, dimension) VALUES (1, 'made-up', 384)")
    execute(
        conn,
        """
        UPDATE reviews
        SET review_embedding = array_fill(1, ARRAY[384])::vector,
            embedding_run_id = 1,
            author_steamid = '76561190000000000',
            language = CASE recommendationid WHEN 'r1' THEN 'english' END
        """,
    )
    (page,) = read_map_pages(conn, rows_of(conn, REVIEWS, 1, 384), ALL)

    assert page.names == [("So cozy. " * 50)[:80], "Nice"]
    assert page.groups == [("english",), ()]
    assert "7656119" not in str(page)


def test_texts_are_cut_but_not_in_the_middle_of_a_letter(conn: connection, numbered: TextColumn) -> None:
    """Sixteen thousand characters of a page are not needed to name a cluster."""
    add_rows(conn, numbered, {1: "日" * 5_000, 2: "short"})
    embed(conn, numbered)
    set_text(conn, numbered, 2, None)
    texts = read_map_texts(conn, rows_of(conn, numbered, target_of(conn, numbered)), ALL)
    assert texts == {"1": "日" * map_rows.TEXT_CHARACTERS, "2": ""}
