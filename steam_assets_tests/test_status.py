"""What `status` answers, counted in SQL."""

import json

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.store.database import connect, find_database
from steam_assets.store.runs import finish_range, start_range
from steam_assets.store.status import column_status, is_initialised
from steam_assets_tests.rows import add_rows, change_recipe, embed, set_text, target_of


def test_before_init_there_is_no_status(empty_database_url: str) -> None:
    """And no error about a missing table."""
    conn = connect(find_database(empty_database_url))
    assert not is_initialised(conn)
    assert column_status(conn, REVIEWS) is None
    conn.close()


def test_a_column_without_a_model_has_no_status(conn: connection) -> None:
    """The schema is there, and nobody chose."""
    assert is_initialised(conn)
    assert column_status(conn, REVIEWS) is None


def test_a_status_tells_rows_runs_and_the_last_attempt(conn: connection, notes: TextColumn) -> None:
    """The numbers a person asks for are in the JSON under their names; it is JSON."""
    add_rows(conn, notes, {"a": "a", "b": "b", "c": "c", "blank": ""})
    embed(conn, notes)
    set_text(conn, notes, "a", "A")
    add_rows(conn, notes, {"new": "new"})
    run_id = target_of(conn, notes)
    with conn:
        for status in ("failed", "done"):
            range_id = start_range(conn, notes, run_id, "~:~", "dagster-run", "cpu", "fp32")
            finish_range(conn, range_id, "done" if status == "done" else "failed", rows_written=3, rows_per_s=2.5)
    found = column_status(conn, notes)
    assert found is not None
    assert (found.state.embedded, found.state.stale, found.state.missing, found.state.blank) == (2, 1, 1, 1)
    told = json.loads(json.dumps(found.as_json()))
    states = {"total": 5, "blank": 1, "failed": 0, "embedded": 2, "stale": 1, "missing": 1, "pending": 2}
    assert told["state"] == states
    assert told["coverage_percent"] == pytest.approx(50)
    assert (told["column"], told["model_name"], told["dimension"]) == ("notes.body_vector", "made-up", 8)
    assert (told["target_run_id"], told["serving_run_id"]) == (run_id, run_id)
    last = told["last_range"]
    assert (last["range_key"], last["status"], last["rows_written"], last["rows_per_s"]) == ("~:~", "done", 3, 2.5)
    assert last["started_at"] <= last["finished_at"]


def test_the_status_is_of_the_target_run(conn: connection, notes: TextColumn) -> None:
    """After a change of recipe everything is pending, and searches read the old run."""
    add_rows(conn, notes, {"a": "a"})
    embed(conn, notes)
    first = target_of(conn, notes)
    second = change_recipe(conn, notes, "second")
    found = column_status(conn, notes)
    assert found is not None
    assert (found.target_run_id, found.serving_run_id, found.last_range) == (second, first, None)
    assert (found.state.stale, found.state.coverage) == (1, 0.0)
