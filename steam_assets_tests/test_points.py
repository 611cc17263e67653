"""A map's rows are those of one run at one moment."""

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.pictures import points
from steam_assets.pictures.points import read_points
from steam_assets_tests.rows import Connect, add_rows, change_recipe, embed, execute, target_of


def silent(line: str) -> None:
    """Nobody listens."""


def fill(conn: connection, column: TextColumn, rows: int) -> None:
    """Rows 1, 2, 3, ... with vectors of the column's first run."""
    add_rows(conn, column, {n: f"text {n}" for n in range(1, rows + 1)})
    embed(conn, column)


def test_the_serving_run_is_drawn_while_another_one_is_filled(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """What searches read is what the map shows, and what is missing of it is counted."""
    fill(conn, numbered, 6)
    serving = target_of(conn, numbered)
    change_recipe(conn, numbered, "second")
    add_rows(conn, numbered, {7: "new"})
    found = read_points(connect, numbered, None, silent)

    assert (found.run_id, found.serves) == (serving, True)
    assert found.ids == ["1", "2", "3", "4", "5", "6"]
    assert found.vectors.shape == (6, 8)
    assert found.texts == {row: f"text {row + 1}" for row in range(6)}
    assert (found.left_out, found.not_sampled) == (1, 0)
    assert found.kept == pytest.approx(1.0)


def test_a_challenger_is_drawn_from_the_run_it_is_filled_with(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Whoever names it sees it, and is told that searches do not."""
    fill(conn, numbered, 4)
    execute(conn, "UPDATE embedding_columns SET serving_run_id = NULL")
    found = read_points(connect, numbered, None, silent)
    assert (found.run_id, found.serves, len(found)) == (target_of(conn, numbered), False, 4)


def test_a_sample_says_how_many_rows_are_not_in_it(
    conn: connection, connect: Connect, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by a person, or because the table is larger than any map."""
    fill(conn, numbered, 12)
    asked = read_points(connect, numbered, 5, silent)
    monkeypatch.setattr(points, "MOST_ROWS", 7)
    too_many = read_points(connect, numbered, 9, silent)

    assert (len(asked), asked.not_sampled) == (5, 7)
    assert (len(too_many), too_many.not_sampled) == (7, 5)
    assert set(asked.ids) < set(too_many.ids)


def test_directions_of_a_sample_serve_all_rows(
    conn: connection, connect: Connect, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are many rows, the directions come from some of them, and names of clusters too."""
    fill(conn, numbered, 30)
    monkeypatch.setattr(points, "FIT_ROWS", 10)
    found = read_points(connect, numbered, None, silent)
    assert len(found) == 30
    assert len(found.texts) == 10
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-4)


def test_all_is_read_at_one_moment(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Rows that somebody embeds while the map is being read are on the next one."""
    fill(conn, numbered, 5)
    said: list[str] = []

    def embed_more(line: str) -> None:
        said.append(line)
        add_rows(conn, numbered, {100: "while it is read"})
        embed(conn, numbered)

    assert read_points(connect, numbered, None, embed_more).ids == ["1", "2", "3", "4", "5"]
    assert len(said) == 1
    assert "100" in read_points(connect, numbered, None, silent).ids


@pytest.mark.parametrize("rows", [0, 2])
def test_too_few_rows_are_an_error_that_says_what_to_do(
    conn: connection, connect: Connect, numbered: TextColumn, rows: int
) -> None:
    """How many there are, how many are needed, and the command that makes more."""
    if rows:
        fill(conn, numbered, rows)
    with pytest.raises(
        SteamAssetsError, match=rf"has {rows} rows with a vector .* at least 3\. Run `steam-assets embed"
    ):
        read_points(connect, numbered, None, silent)


def test_vectors_of_another_length_are_not_counted_as_drawn(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Three rows of which one has another length are two."""
    fill(conn, numbered, 4)
    execute(conn, "ALTER TABLE numbered ALTER COLUMN body_vector TYPE vector")
    execute(conn, "UPDATE numbered SET body_vector = '[1, 0]' WHERE id = 1")
    found = read_points(connect, numbered, None, silent)
    assert (len(found), found.not_sampled) == (3, 1)
    execute(conn, "UPDATE numbered SET body_vector = '[1, 0]'")
    with pytest.raises(SteamAssetsError, match="has 0 rows with a vector"):
        read_points(connect, numbered, None, silent)


def test_a_column_nobody_has_chosen_a_model_for_is_an_error(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """The same as a search of it gives."""
    execute(conn, "DELETE FROM embedding_columns")
    with pytest.raises(SteamAssetsError, match=r"serves no run yet\. Run `steam-assets init`"):
        read_points(connect, numbered, None, silent)
