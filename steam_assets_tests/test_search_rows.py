"""What is shown of a row that was found: as much as there is, and as this user may read."""

from dataclasses import replace

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.store.search_rows import SHOWN_CHARACTERS, FoundRow, groups_of, has_groups, read_rows
from steam_assets_tests.games import add_games
from steam_assets_tests.rows import ODD_IDS, add_rows, execute
from steam_assets_tests.servers import stranger


@pytest.fixture
def games(conn: connection) -> connection:
    """Four store pages and their reviews."""
    add_games(conn)
    return conn


def test_a_page_has_its_name_and_a_review_its_game(games: connection) -> None:
    """Both beside the text."""
    pages = read_rows(games, APPLICATIONS, ["10", "40"])
    assert pages["10"] == FoundRow("Lantern Valley Plant <b>turnips</b> with friends. ", "Lantern Valley", None)
    assert set(pages) == {"10", "40"}
    assert read_rows(games, REVIEWS, ["r6"]) == {"r6": FoundRow("Die Züge fahren pünktlich.", None, "Iron Tracks")}
    assert groups_of(games, REVIEWS, ["r1", "r2", "r6"]) == {"r1": "10", "r2": "10", "r6": "30"}
    assert groups_of(games, REVIEWS, []) == {}
    assert (has_groups(games, REVIEWS), has_groups(games, APPLICATIONS)) == (True, False)


def test_a_table_of_one_s_own_has_texts_only(conn: connection, notes: TextColumn, numbered: TextColumn) -> None:
    """Whatever its ids are."""
    add_rows(conn, notes, {id_: f"text of {len(id_)}" for id_ in ODD_IDS})
    add_rows(conn, numbered, {-5: "five", 2**62: None})
    assert read_rows(conn, notes, ODD_IDS) == {id_: FoundRow(f"text of {len(id_)}", None, None) for id_ in ODD_IDS}
    assert read_rows(conn, numbered, ["-5", str(2**62)]) == {
        "-5": FoundRow("five", None, None),
        str(2**62): FoundRow("", None, None),
    }
    assert not has_groups(conn, notes)
    assert read_rows(conn, notes, []) == {}


def test_of_a_huge_text_the_beginning_is_read(conn: connection, notes: TextColumn) -> None:
    """A thousand hits of 50 MB would not fit into memory."""
    add_rows(conn, notes, {"huge": "x" * (SHOWN_CHARACTERS + 1)})
    assert len(read_rows(conn, notes, ["huge"])["huge"].text) == SHOWN_CHARACTERS


def test_what_this_user_may_not_read_is_left_out(games: connection) -> None:
    """A role that may read what a search needs, and nothing else, still gets hits."""
    with stranger(games) as name:
        execute(games, f"GRANT SELECT (recommendationid, review_text) ON reviews TO {name}")
        execute(games, f"GRANT SELECT (appid, combined_text) ON applications TO {name}; SET ROLE {name}")
        assert read_rows(games, REVIEWS, ["r6"]) == {"r6": FoundRow("Die Züge fahren pünktlich.", None, None)}
        assert not has_groups(games, REVIEWS)
        assert read_rows(games, APPLICATIONS, ["40"])["40"].title is None
        games.rollback()
        execute(games, f"RESET ROLE; GRANT SELECT (appid) ON reviews TO {name}; SET ROLE {name}")
        assert has_groups(games, REVIEWS)
        assert groups_of(games, REVIEWS, ["r6"]) == {"r6": "30"}
        assert read_rows(games, REVIEWS, ["r6"])["r6"].group_name is None


def test_a_table_of_the_same_name_elsewhere_is_another(conn: connection, games: connection) -> None:
    """Its name and appid may mean anything."""
    execute(conn, "CREATE SCHEMA elsewhere")
    execute(conn, "CREATE TABLE elsewhere.reviews (recommendationid text PRIMARY KEY, review_text text)")
    execute(conn, "INSERT INTO elsewhere.reviews VALUES ('a', 'b')")
    column = replace(REVIEWS, schema="elsewhere")
    assert not has_groups(conn, column)
    assert read_rows(conn, column, ["a"]) == {"a": FoundRow("b", None, None)}
