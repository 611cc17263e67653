"""An index passes when it is there, of the run that fills the column, and finds what was asked for."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.judge import Judgement, judge_index
from steam_assets_tests.indexed_rows import built, fill, measured
from steam_assets_tests.rows import Connect, change_recipe, execute


def judged(conn: connection, column: TextColumn) -> Judgement:
    """What is said of the column's index."""
    found = judge_index(conn, column)
    conn.rollback()
    assert found.passed == (found.said is None)
    assert found.said is None or f"`steam-assets index build {column}" in found.said
    return found


def test_a_good_index_passes_and_a_poor_one_does_not(
    conn: connection, connect: Connect, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for now counts, not what was when it was built."""
    run_id = fill(conn, numbered, 30)
    measured(conn, connect, numbered, run_id, recall=0.98)
    poor = judged(conn, numbered)
    assert poor.said is not None
    assert poor.said.startswith("Its recall@10 is 0.9800 at ef_search 40, below 0.99.")
    assert "--m 32 --ef-construction 128" in poor.said
    monkeypatch.setenv("STEAM_ASSETS_RECALL", "0.98")
    assert judged(conn, numbered) == Judgement(True, None, 0.98, 0.98)


def test_no_index_none_of_this_run_none_measured_and_none_any_more_are_told_apart(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Each with the command that builds it."""
    run_id = fill(conn, numbered, 30)
    assert "has no index" in str(judged(conn, numbered).said)
    built(connect, numbered, run_id)
    assert "was not measured" in str(judged(conn, numbered).said)
    measured(conn, connect, numbered, run_id)
    assert judged(conn, numbered).passed
    second = change_recipe(conn, numbered, "second")
    assert f"is of run {run_id}, and run {second} fills the column" in str(judged(conn, numbered).said)
    execute(conn, "DROP INDEX numbered_body_vector_halfvec_hnsw")
    assert "is gone" in str(judged(conn, numbered).said)
