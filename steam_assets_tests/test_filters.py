"""What filters select, and that nothing they hold is ever SQL."""

from dataclasses import replace

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.store.filter_language import WrongFilter
from steam_assets.store.filters import filter_condition, unreadable
from steam_assets.store.states import names
from steam_assets_tests.games import REVIEWED, add_games
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.servers import stranger


@pytest.fixture
def games(conn: connection) -> connection:
    """Four store pages and their reviews."""
    add_games(conn)
    return conn


def selected(conn: connection, column: TextColumn, text: str) -> set[object]:
    """The ids of the rows that a filter leaves."""
    condition = filter_condition(conn, column, text)
    query = sql.SQL("SELECT t.{id} FROM {table} AS t WHERE {condition}")
    return {id_ for (id_,) in fetch(conn, query.format(**names(column), condition=condition))}


OF_GAMES = {
    "type = game": {10, 20, 30},
    "type = GAME": {10, 20, 30},
    "type != game": {40},
    "not type = game": {40},
    "type in (music, video)": {40},
    "type = nonsense": set(),
    "genre = simulation": {10, 30},
    "genre = 'Massively Multiplayer'": {20},
    "genre != simulation": {20, 40},
    "not genre = simulation": {20, 40},
    "not genre != simulation": {10, 30},
    "genre in (Action, Strategy)": {20, 30},
    "genre not in (Action, Strategy)": {10, 40},
    "genre = indie and genre = simulation": {10},
    "year = 2016": {10},
    "year >= 2016": {10, 20},
    "year < 2016": {30},
    "not year < 2016": {10, 20},
    "year in (2014, 2021)": {20, 30},
    "year not in (2014, 2021)": {10},
    "price = 0": {20},
    "price < 10": {20, 30},
    "price <= 9.99": {20, 30},
    "price < 9.99": {20},
    "price > 9.99": {10},
    "not price > 9.99": {20, 30},
    "is_free": {20},
    "not is_free": {10, 30, 40},
    "is_free != true": {10, 30, 40},
    "year = 2016 or is_free and type = music": {10},
    "(year = 2016 or is_free) and type = music": set(),
    "not (year < 2016 or is_free)": {10},
    "not (year < 2016 and is_free)": {10, 20, 30, 40},
}


def test_a_filter_leaves_the_pages_it_names(games: connection) -> None:
    """What is unknown of a page, as the year of one not yet released, fits neither a comparison nor its opposite."""
    assert {text: selected(games, APPLICATIONS, text) for text in OF_GAMES} == OF_GAMES


def test_a_filter_leaves_the_reviews_of_the_games_it_names(games: connection) -> None:
    """Type, genre, year and price of a review are its game's."""
    of_reviews = {text: {id_ for id_, appid, *_ in REVIEWED if appid in ids} for text, ids in OF_GAMES.items()}
    assert {text: selected(games, REVIEWS, text) for text in OF_GAMES} == of_reviews


BY_LANGUAGE: dict[tuple[TextColumn, str], set[object]] = {
    (APPLICATIONS, "language = french"): {10},
    (APPLICATIONS, "language = 'simplified chinese'"): {10},
    (APPLICATIONS, "language = spanish"): {30},
    (APPLICATIONS, "language = 'Spanish - Spain'"): {30},
    (APPLICATIONS, "language = english"): {10, 20, 30},
    (APPLICATIONS, "language != english"): {40},
    (APPLICATIONS, "language = span"): set(),
    (REVIEWS, "language = French"): {"r2"},
    (REVIEWS, "language in (german, schinese)"): {"r6", "r8"},
    (REVIEWS, "language != english and voted_up"): {"r2", "r6", "r8"},
    (REVIEWS, "not voted_up"): {"r3", "r7"},
    (REVIEWS, "voted_up and genre = strategy"): {"r6"},
}


def test_languages_are_those_of_the_page_or_of_the_review(games: connection) -> None:
    """A page has several, in the store's own words with its marks of full audio; a review has one."""
    assert {asked: selected(games, *asked) for asked in BY_LANGUAGE} == BY_LANGUAGE


INJECTIONS = (
    "type = 'game'' OR TRUE --'",
    'genre = "x\'); DROP TABLE reviews; --"',
    "language = '\\'' OR 1=1 --'",
    "genre in ('a', 'b'') OR (''c''=''c')",
    "type = '%s'",
    "type = '{row}'",
    "genre = '$1'",
)


@pytest.mark.parametrize("column", [APPLICATIONS, REVIEWS], ids=str)
def test_nothing_in_a_filter_is_sql(games: connection, column: TextColumn) -> None:
    """It is a word that no row has; the tables stay."""
    assert [selected(games, column, text) for text in INJECTIONS] == [set()] * len(INJECTIONS)
    assert fetch(games, "SELECT count(*) FROM reviews") == [(len(REVIEWED),)]


def test_the_longest_filter_is_answered(games: connection) -> None:
    """As many comparisons as fit, in a statement that the server takes."""
    assert selected(games, REVIEWS, " or ".join(["genre=x"] * 160 + ["is_free"])) == {"r5"}


def test_a_field_that_the_table_lacks_is_named_with_those_it_has(games: connection) -> None:
    """A page has no votes."""
    with pytest.raises(WrongFilter, match=r"applications has no voted_up\. Its fields: type, genre, year, .*--in"):
        filter_condition(games, APPLICATIONS, "type = game and voted_up")


def test_a_table_of_one_s_own_has_no_fields(conn: connection, notes: TextColumn) -> None:
    """A column called type there would mean something else; a table of the same name in another schema, too."""
    for column in (notes, replace(APPLICATIONS, schema="elsewhere")):
        with pytest.raises(WrongFilter, match="has no fields to filter by"):
            filter_condition(conn, column, "type = game")


def test_what_the_database_lacks_is_named(games: connection) -> None:
    """Somebody's own applications may have no genres, and no prices."""
    execute(games, "DROP TABLE application_genres")
    execute(games, "ALTER TABLE applications DROP COLUMN mat_final_price")
    with pytest.raises(WrongFilter, match=r"needs application_genres\.appid, which is not in this database"):
        filter_condition(games, APPLICATIONS, "genre = action")
    with pytest.raises(WrongFilter, match=r"needs applications\.mat_final_price, which is not in this database\."):
        filter_condition(games, REVIEWS, "price < 5 or is_free")
    games.rollback()
    assert selected(games, APPLICATIONS, "is_free") == {20}


def test_what_this_user_may_not_read_is_named(games: connection) -> None:
    """Before a statement fails for it."""
    with stranger(games) as name:
        execute(games, f"GRANT SELECT (appid) ON applications TO {name}; SET ROLE {name}")
        assert unreadable(games, [("applications", "appid"), ("applications", "type")]) == [
            "applications.type, which this user may not read"
        ]
