"""Before bulk work indexes go out of its way, where that is allowed; after it dead rows are counted and vacuumed."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store import vacuum as vacuum_module
from steam_assets.store import vector_indexes as indexes_module
from steam_assets.store.session import RunSession
from steam_assets.store.vector_indexes import dropped_indexes, vector_indexes
from steam_assets.upkeep import DEFAULTS, FillOptions, clear_the_way, tidy_up
from steam_assets_tests.rows import Connect, add_rows, change_recipe, embed, execute, target_of

INDEX = "CREATE INDEX near ON numbered USING hnsw (body_vector vector_cosine_ops)"


@pytest.fixture
def session(connect: Connect) -> Iterator[RunSession]:
    """A run's connection."""
    with RunSession(connect, "dagster-run") as opened:
        yield opened


@pytest.fixture
def indexed(conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch) -> TextColumn:
    """Twenty embedded rows under an HNSW index, and a bulk that begins at five."""
    monkeypatch.setattr(indexes_module, "BULK_ROWS", 5)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(20)})
    embed(conn, numbered)
    execute(conn, INDEX)
    return numbered


def clear(session: RunSession, column: TextColumn, drop_index: bool) -> list[str]:
    """What is said before a run fills the column."""
    said: list[str] = []
    run_id = target_of(session.conn, column)
    clear_the_way(session.conn, column, run_id, drop_index, said.append, session.dagster_run_id)
    return said


def names(conn: connection, column: TextColumn) -> list[str]:
    """The costly indexes that are there."""
    with conn:
        return [index.name for index in vector_indexes(conn, column) if index.is_costly]


def test_trickle_updates_leave_the_index_and_say_nothing(
    conn: connection, session: RunSession, indexed: TextColumn
) -> None:
    """Two new rows of twenty-two are no bulk work, whatever is allowed."""
    add_rows(conn, indexed, {20: "new", 21: "new too"})
    assert clear(session, indexed, drop_index=True) == []
    assert names(conn, indexed) == ["near"]


def test_bulk_work_beside_an_index_says_what_it_costs_and_what_to_set(
    conn: connection, session: RunSession, indexed: TextColumn
) -> None:
    """A new recipe makes every row stale; without leave the index stays."""
    change_recipe(conn, indexed, "second")
    (advice,) = clear(session, indexed, drop_index=False)
    assert "20 of 20 rows are to be written" in advice
    assert "STEAM_ASSETS_DROP_INDEX" in advice
    assert names(conn, indexed) == ["near"]


def test_with_leave_the_index_is_dropped_and_the_drop_recorded(
    conn: connection, session: RunSession, indexed: TextColumn
) -> None:
    """The record says how to build it again, and which run dropped it."""
    change_recipe(conn, indexed, "second")
    assert clear(session, indexed, drop_index=True)[1:] == ["numbered.body_vector: near was dropped."]
    assert names(conn, indexed) == []
    with conn:
        (record,) = dropped_indexes(conn, indexed)
    assert (record.name, record.dagster_run_id) == ("near", "dagster-run")


@pytest.mark.parametrize("may_vacuum", [False, True])
def test_dead_rows_are_counted_and_vacuumed_only_with_leave(
    conn: connection, session: RunSession, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch, may_vacuum: bool
) -> None:
    """Writing every row once leaves a dead version of each; without leave the advice is said."""
    monkeypatch.setattr(vacuum_module, "VACUUM_ROWS", 5)
    execute(conn, "ALTER TABLE numbered SET (autovacuum_enabled = off)")
    add_rows(conn, numbered, {n: f"text {n}" for n in range(20)})
    embed(session.conn, numbered)
    said: list[str] = []
    left = tidy_up(session, numbered, may_vacuum, said.append)
    if may_vacuum:
        assert (left.dead, said) == (0, [])
    else:
        assert left.dead == 20
        assert "VACUUM" in said[0]


def test_what_is_given_wins_over_the_environment_and_that_over_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each option by itself."""
    assert FillOptions.from_environment() == DEFAULTS == FillOptions(None, 0.1, drop_index=False, vacuum=False)
    monkeypatch.setenv("STEAM_ASSETS_MAX_FAILED_PERCENT", "2.5")
    monkeypatch.setenv("STEAM_ASSETS_DROP_INDEX", "1")
    monkeypatch.setenv("STEAM_ASSETS_VACUUM", "yes")
    assert FillOptions.from_environment(limit=3) == FillOptions(3, 2.5, drop_index=True, vacuum=True)
    assert FillOptions.from_environment(max_failed_percent=0.0, drop_index=False).max_failed_percent == 0
    assert not FillOptions.from_environment(drop_index=False).drop_index


@pytest.mark.parametrize("value", ["a lot", "-1", "nan", "inf"])
def test_a_share_of_failures_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """With the variable and what it should be."""
    monkeypatch.setenv("STEAM_ASSETS_MAX_FAILED_PERCENT", value)
    with pytest.raises(SteamAssetsError, match=r"STEAM_ASSETS_MAX_FAILED_PERCENT is .+ a number from 0 on"):
        FillOptions.from_environment()
