"""`steam-assets index`: built through Dagster and measured, dropped on request, listed with what searches use."""

import json
from collections.abc import Callable

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.defs.index_sensor import build_index_sensor
from steam_assets.store.hnsw_lock import building
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.indexed_rows import REVIEWS_INDEX, fill_reviews, index_names
from steam_assets_tests.rows import execute

Run = Callable[..., Ended]


@pytest.fixture
def reviews_filled(tables: connection, steam_assets: Run) -> connection:
    """24 reviews with vectors, applications without."""
    fill_reviews(tables)
    return tables


def test_an_index_is_built_listed_and_dropped(reviews_filled: connection, steam_assets: Run) -> None:
    """JSON for scripts, a table for people."""
    ended = steam_assets("index", "build", "reviews", "--m", "8", "--json")
    assert ended.code == 0, ended
    (one,) = json.loads(ended.out)
    assert (one["name"], one["variant"], one["m"]) == (REVIEWS_INDEX, "halfvec", 8)
    assert (one["is_used"], one["rows"]) == (True, 24)
    assert one["recall"] >= 0.99
    ended = steam_assets("index", "list")
    assert ended.code == 0
    assert ended.out.splitlines()[0].split()[:4] == ["column", "index", "run", "recall@10"]
    assert "halfvec" in ended.out
    assert "searches use it" in ended.out
    ended = steam_assets("index", "drop", "reviews", "--yes")
    assert ended.code == 0
    assert f"{REVIEWS_INDEX} is dropped" in ended.out
    assert f"The sensor {build_index_sensor(REVIEWS).name} would have one built again" in ended.out
    assert index_names(reviews_filled) == []
    assert "There is no index on vectors" in steam_assets("index", "list").out


def test_a_column_half_done_is_exit_1_and_says_what_to_do(tables: connection, steam_assets: Run) -> None:
    """Not wrong usage: it will work when the column is complete. In the web UI the run fails with the same words."""
    ended = steam_assets("index", "build", "reviews")
    assert ended.code == 1
    assert "gets no index yet: complete is red. 24 rows pending" in ended.err
    assert "Traceback" not in ended.err
    assert index_names(tables) == []


def test_what_is_impossible_is_exit_2_before_a_run_begins(
    reviews_filled: connection, steam_assets: Run, other_conn: connection
) -> None:
    """An unknown variant or column, a shape that pgvector does not build, somebody else at it."""
    assert "is no variant of an index" in one_line(steam_assets("index", "build", "--variant", "ivf"), 2)
    assert "names 0 columns" in one_line(steam_assets("index", "build", "nothing"), 2)
    assert "101 is not in the range 2<=x<=100" in steam_assets("index", "build", "--m", "101").err
    with building(other_conn, REVIEWS):
        said = one_line(steam_assets("index", "build", "reviews"), 2)
    assert f"process {other_conn.info.backend_pid} of the server" in said
    ended = steam_assets("index", "build", "reviews", "--m", "40", "--ef-construction", "50")
    assert ended.code == 2
    assert "ef_construction 50; pgvector wants" in ended.err


def test_a_recall_that_is_not_reached_is_exit_1(
    reviews_filled: connection, steam_assets: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is there and used; its check is red."""
    monkeypatch.setattr("steam_assets.indexes.neighbours.EQUAL_COSINE", -1.0)
    ended = steam_assets("index", "build", "reviews")
    assert ended.code == 1
    assert "recall@10 is 0.0000 at ef_search 20, below 0.99" in ended.err
    assert index_names(reviews_filled) == [REVIEWS_INDEX]


def test_dropping_asks_and_nothing_goes_without_a_yes(reviews_filled: connection, steam_assets: Run) -> None:
    """Nobody there to be asked is no yes either."""
    assert steam_assets("index", "build", "reviews").code == 0
    assert "Repeat with --yes" in one_line(steam_assets("index", "drop", "reviews"), 2)
    assert steam_assets("index", "drop", "reviews", typed="n\n").code == 1
    assert index_names(reviews_filled) == [REVIEWS_INDEX]
    assert steam_assets("index", "drop", "reviews", typed="y\n").code == 0
    assert "has no index" in one_line(steam_assets("index", "drop", "reviews", "--yes"), 2)


def test_looking_drops_what_a_killed_build_left(reviews_filled: connection, steam_assets: Run) -> None:
    """And says so."""
    execute(reviews_filled, f"CREATE INDEX {REVIEWS_INDEX}_new ON reviews (appid)")
    assert f"{REVIEWS_INDEX}_new, which a killed build had left, is dropped" in steam_assets("index", "list").err
    assert index_names(reviews_filled) == []


def test_a_database_without_our_tables_is_exit_2(
    empty_database_url: str, steam_assets: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that makes them."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", empty_database_url)
    for verb in (("list",), ("build",), ("drop", "reviews", "--yes")):
        assert "Run `steam-assets init`" in one_line(steam_assets("index", *verb), 2)
