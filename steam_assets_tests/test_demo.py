"""`steam-assets demo` does the main job from nothing to a search, and only in tables of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS
from steam_assets.sample import write_sample
from steam_assets_tests.dagster_home import Ended, contents, fill_tables, one_line

Run = Callable[..., Ended]


def test_demo_fills_an_empty_database_from_files_and_finds_everything_green(
    empty_database_url: str, steam_assets: Run, home: Path
) -> None:
    """Schema, rows, vectors, checks and searches in one command; coverage is 100 % for both columns."""
    files = write_sample(home / "few", application_count=12, review_count=20)
    ended = steam_assets("demo", "--database-url", empty_database_url, "--exit", "--data", *map(str, files))

    assert ended.code == 0, ended
    lines = [line for line in ended.out.splitlines() if line.startswith(tuple(str(column) for column in COLUMNS))]
    assert sum(line.endswith("100 %") for line in lines) == len(COLUMNS)
    assert ended.out.endswith("5. Checks: all green.\n")
    assert '4. "cozy farming game with friends" in reviews.review_embedding' in ended.out


@pytest.mark.slow
def test_demo_keeps_to_the_embedded_server_whatever_the_environment_names(
    named_database: str, conn: connection, steam_assets: Run, home: Path
) -> None:
    """An address that stands in the environment for daily work is not meant: nothing is written there."""
    fill_tables(conn)
    before = contents(conn, APPLICATIONS)
    files = write_sample(home / "few", application_count=4, review_count=6)
    ended = steam_assets("demo", "--exit", "--data", *map(str, files))

    assert ended.code == 0, ended
    assert contents(conn, APPLICATIONS) == before
    assert (home / "postgres").is_dir()


def test_demo_writes_into_no_table_that_it_did_not_make(database_url: str, conn: connection, steam_assets: Run) -> None:
    """Somebody's applications stay as they are; exit 2 with the table's name."""
    fill_tables(conn)
    before = contents(conn, APPLICATIONS)
    line = one_line(steam_assets("demo", "--database-url", database_url, "--exit"), 2)

    assert "applications" in line
    assert "was not made by `demo`" in line
    assert contents(conn, APPLICATIONS) == before
