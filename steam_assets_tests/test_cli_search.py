"""`steam-assets search` as a person and a script use it."""

import json
from collections.abc import Callable, Mapping

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.search.question import MOST_HITS
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.games import add_games, fill
from steam_assets_tests.rows import execute
from steam_assets_tests.servers import free_port

Run = Callable[..., Ended]


@pytest.fixture
def games(named_database: str, conn: connection, minilm: Model, minilm_encoder: Encoder) -> connection:
    """Four store pages and their reviews, embedded by the packaged model."""
    add_games(conn)
    for column in (APPLICATIONS, REVIEWS):
        fill(conn, column, minilm, minilm_encoder)
    return conn


def test_pages_and_reviews_are_found_by_meaning(games: connection, steam_assets: Run) -> None:
    """A page with its name, reviews below their game, both without a word in common."""
    ended = steam_assets("search", "vegetable gardening", "--k", "1")
    assert ended.code == 0, ended
    pages, reviews = ended.out.split("reviews.review_embedding\n")
    assert pages.splitlines()[0] == "applications.description_embedding"
    assert pages.splitlines()[1].endswith("  10  Lantern Valley")
    assert pages.splitlines()[2].strip() == "Plant turnips with friends."
    assert reviews.splitlines()[0] == "  Lantern Valley (10)"
    assert len(reviews.splitlines()) == 1 + 3
    assert {line.split()[1] for line in reviews.splitlines()[1:]} < {"r1", "r2", "r3", "r4"}


def test_scripts_get_every_field(games: connection, steam_assets: Run, minilm: Model) -> None:
    """One object for each column; a review has its game."""
    found = json.loads(steam_assets("search", "trains", "--k", "2", "--json").out)
    assert [result["column"] for result in found] == [str(APPLICATIONS), str(REVIEWS)]
    pages, reviews = found
    assert set(pages) == {"column", "model_name", "run_id", "hits", "left_out", "how", "seconds", "notice"}
    assert (pages["model_name"], pages["left_out"], pages["how"], pages["notice"]) == (minilm.name, 0, "exact", None)
    assert set(pages["hits"][0]) == {"id", "score", "cosine", "text", "title", "group"}
    assert (pages["hits"][0]["id"], pages["hits"][0]["title"]) == ("30", "Iron Tracks")
    assert reviews["hits"][0]["group"] == {"id": "30", "name": "Iron Tracks"}
    assert "author_steamid" not in json.dumps(found)


def test_games_like_one_are_asked_for_by_id(games: connection, steam_assets: Run) -> None:
    """Of the first column, unless another is named."""
    (found,) = json.loads(steam_assets("search", "--like", "30", "--json").out)
    assert found["column"] == str(APPLICATIONS)
    assert "30" not in {hit["id"] for hit in found["hits"]}
    (found,) = json.loads(steam_assets("search", "--like", "r7", "--in", "reviews", "--json").out)
    assert found["hits"][0]["group"] is not None
    line = one_line(steam_assets("search", "--like", "99"), 2)
    assert "applications.description_embedding has no row '99' with a vector" in line


def test_filters_words_and_exact_scans_are_options(games: connection, steam_assets: Run) -> None:
    """Each of them, and together."""
    options = ("--in", "applications", "--where", "genre = simulation and year < 2016", "--hybrid", "--exact")
    (found,) = json.loads(steam_assets("search", "tracks", *options, "--json").out)
    assert [hit["id"] for hit in found["hits"]] == ["30"]
    assert found["how"] == "exact + full text"
    assert "(no embedded row fits the filter)" in steam_assets("search", "x", "--where", "year = 1990").out


WRONG_USAGE: Mapping[tuple[str, ...], str] = {
    (): "Expected TEXT, or --like ID.",
    ("x", "--like", "10"): "Expected TEXT, or --like ID.",
    ("--like", "10", "--hybrid"): "--hybrid looks for words",
    ("x", "--k", "0"): f"0 is not in the range 1<=x<={MOST_HITS}",
}
UNANSWERABLE: Mapping[tuple[str, ...], str] = {
    ("x", "--where", "price < cheap"): "wrong at character 9, 'cheap': expected a number such as 9.99 for price",
    ("x", "--where", "'; DROP TABLE reviews; --"): "wrong at character 1",
    ("x", "--where", "voted_up", "--in", "applications"): "applications has no voted_up",
    ("x", "--in", "nowhere"): "'nowhere' names 0 columns",
    (" ",): "blank; expected some words",
}


def test_wrong_usage_is_exit_2_and_says_what_is_right(steam_assets: Run) -> None:
    """Before anything is loaded."""
    for arguments, what in WRONG_USAGE.items():
        ended = steam_assets("search", *arguments)
        assert (ended.code, what in ended.err) == (2, True), ended


def test_a_question_that_cannot_be_answered_is_exit_2_and_one_line(games: connection, steam_assets: Run) -> None:
    """What was found, what was expected, and no traceback."""
    for arguments, what in UNANSWERABLE.items():
        assert what in one_line(steam_assets("search", *arguments), 2)


def test_what_is_said_of_the_database_or_the_model_is_not_left_to_a_service(
    games: connection, steam_assets: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its own: one that the environment names is not asked then, and one that the command names is refused."""
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("STEAM_ASSETS_SERVE_URL", nobody)
    assert "No `steam-assets serve` answers" in one_line(steam_assets("search", "trains"), 2)
    for here in (("--database-url", database_url), ("--device", "cpu")):
        assert steam_assets("search", "trains", *here).code == 0
        refused = steam_assets("search", "trains", "--url", nobody, *here)
        assert (refused.code, "Leave out --url" in refused.err) == (2, True)


def test_the_help_explains_filters(steam_assets: Run) -> None:
    """Every field, and examples that work."""
    ended = steam_assets("search", "--help")
    for word in ("type", "genre", "language", "year", "price", "is_free", "voted_up", "'Massively Multiplayer'"):
        assert word in ended.out
    assert "SELECT" not in ended.out


def test_the_examples_of_the_help_are_filters(games: connection, steam_assets: Run) -> None:
    """Copied from the screen they give an answer."""
    lines = [line.strip() for line in steam_assets("search", "--help").out.splitlines()]
    examples = [line for line in lines if line.startswith(("type = game", "is_free or"))]
    assert len(examples) == 2
    for example in examples:
        assert steam_assets("search", "x", "--in", "applications", "--where", example).code == 0, example


def test_nobody_s_escape_sequences_reach_the_terminal(games: connection, steam_assets: Run) -> None:
    """Not out of a text, not out of a name."""
    execute(games, "UPDATE reviews SET review_text = E'\\x1b]0;owned\\x07' || review_text")
    execute(games, "UPDATE applications SET name = E'\\x1b[31m' || name")
    ended = steam_assets("search", "trains")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "\x07" not in ended.out
