"""Figures for monitoring are what attempts left in the database, and rows by state agree with the checks' own scan."""

from dataclasses import astuple

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.store.failures import record_unembeddable, release
from steam_assets.store.runs import finish_range, start_range
from steam_assets.store.telemetry import (
    STAGES,
    answer_soon,
    attempt_figures,
    quarantined_rows,
    rows_by_state,
    stage_seconds,
)
from steam_assets_tests.rows import add_rows, change_recipe, embed, execute, read_all, set_text, state_of, target_of


def attempt(conn: connection, column: TextColumn, key: str, rows: int, stages: dict[str, float]) -> None:
    """An attempt at a range that is done."""
    with conn:
        range_id = start_range(conn, column, target_of(conn, column), key, "dagster-run", "cpu", "fp32")
        finish_range(
            conn,
            range_id,
            "done",
            details={"stage_seconds": stages, "gpu_energy_wh": 0.5},
            rows_written=rows,
            rows_failed=1,
            tokens=10 * rows,
            seconds=2.0,
            memory_errors=3,
        )


def test_attempts_add_up_by_status_and_running_ones_have_told_nothing(conn: connection, numbered: TextColumn) -> None:
    """Two that are done, and one that has begun: its numbers come when it ends."""
    attempt(conn, numbered, "~:5", 100, {"read": 1.0, "forward": 1.5})
    attempt(conn, numbered, "5:9", 50, {"read": 0.25, "forward": 0.5})
    with conn:
        start_range(conn, numbered, target_of(conn, numbered), "9:~", "dagster-run", "cpu", "fp32")

    found = attempt_figures(conn, numbered)
    assert set(found) == {"done", "running"}
    assert astuple(found["done"])[:-1] == (2, 150, 2, 0, 1500, 0, 6, 4.0, 1.0)
    ((newest,),) = _epochs(conn, "SELECT extract(epoch FROM max(finished_at))::float8 FROM embedding_run_ranges")
    assert found["done"].finished == newest
    assert astuple(found["running"]) == (1, 0, 0, 0, 0, 0, 0, 0.0, 0.0, None)
    assert stage_seconds(conn, numbered) == {**dict.fromkeys(STAGES, 0.0), "read": 1.25, "forward": 2.0}


def _epochs(conn: connection, statement: str) -> list[tuple[float]]:
    with conn, conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_another_column_s_attempts_are_not_counted(conn: connection, numbered: TextColumn, notes: TextColumn) -> None:
    """Each column has figures of its own."""
    attempt(conn, numbered, "~:5", 100, {"read": 1.0})
    assert attempt_figures(conn, notes) == {}
    assert stage_seconds(conn, notes) == dict.fromkeys(STAGES, 0.0)


def test_rows_by_state_are_those_of_the_checks(conn: connection, numbered: TextColumn) -> None:
    """One row in each state, counted without looking into a vector."""
    add_rows(conn, numbered, {1: "stays", 2: "changes", 3: "goes bad", 4: " "})
    embed(conn, numbered)
    set_text(conn, numbered, 2, "changed")
    set_text(conn, numbered, 3, "cannot be embedded")
    (page,) = read_all(conn, numbered)
    bad = page.ids.index(3)
    run_id = target_of(conn, numbered)
    with conn:
        record_unembeddable(conn, numbered, run_id, [UnembeddableRow(3, page.source_md5[bad], "a reason")])
    add_rows(conn, numbered, {5: "new", 6: "newer"})

    found = rows_by_state(conn, numbered, run_id)
    assert found == {"blank": 1, "failed": 1, "embedded": 1, "stale": 1, "missing": 2}
    state = state_of(conn, numbered)
    assert found == {name: getattr(state, name) for name in found}
    other = change_recipe(conn, numbered, "second")
    assert rows_by_state(conn, numbered, other) == {"blank": 1, "failed": 0, "embedded": 0, "stale": 3, "missing": 2}


def test_rows_are_counted_by_one_process_of_the_server(conn: connection, numbered: TextColumn) -> None:
    """Monitoring leaves the other processors to the work."""
    rows_by_state(conn, numbered, target_of(conn, numbered))
    with conn.cursor() as cursor:
        cursor.execute("SHOW max_parallel_workers_per_gather")
        assert cursor.fetchone() == ("0",)


def test_quarantined_rows_are_those_of_the_run_that_nobody_released(conn: connection, numbered: TextColumn) -> None:
    """An empty text is no failure, and a released row waits for its next try."""
    add_rows(conn, numbered, {1: "bad", 2: "worse", 3: "empty"})
    (page,) = read_all(conn, numbered)
    run_id = target_of(conn, numbered)
    reasons = ("a reason", "another", None)
    rows = [UnembeddableRow(*row) for row in zip(page.ids, page.source_md5, reasons, strict=True)]
    with conn:
        record_unembeddable(conn, numbered, run_id, rows)
    assert quarantined_rows(conn, numbered, run_id) == 2
    assert quarantined_rows(conn, numbered, run_id + 1) == 0
    with conn:
        release(conn, {numbered: run_id}, ["2"])
    assert quarantined_rows(conn, numbered, run_id) == 1


def test_figures_are_had_soon_or_not_at_all(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape does not hang behind a lock: its statements end by themselves."""
    monkeypatch.setattr("steam_assets.store.telemetry.FIGURES_WITHIN_S", 0.05)
    conn.autocommit = True
    answer_soon(conn)
    with pytest.raises(psycopg2.errors.QueryCanceled):
        execute(conn, "SELECT pg_sleep(20)")
