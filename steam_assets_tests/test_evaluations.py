"""Evaluations are kept by run and query set, and the ids that a set names are looked up as the column has them."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store import evaluations
from steam_assets.store.evaluations import newest_evaluations, record_evaluation, rows_of_ids
from steam_assets_tests.rows import add_rows, change_recipe, embed, execute, fetch, target_of

METRICS = {"metrics": {"mrr@10": {"mean": 0.5, "low": 0.4, "high": 0.6, "queries": 3}}}


def test_evaluations_come_newest_first_of_what_was_asked_for(conn: connection, notes: TextColumn) -> None:
    """By query set, digest and way to search; each with its run and model, and scores on demand."""
    run_id = target_of(conn, notes)
    identities = [
        ("farms", "d1", "exact"),
        ("farms", "d2", "exact"),
        ("farms", "d2", "index"),
        ("trains", "d3", "exact"),
    ]
    ids = [record_evaluation(conn, notes, run_id, *one, 3, METRICS, {"query_ids": ["q"]}) for one in identities]
    assert [one.evaluation_id for one in newest_evaluations(conn, notes)] == ids[::-1]
    assert [one.evaluation_id for one in newest_evaluations(conn, notes, limit=2)] == ids[:1:-1]
    assert [one.evaluation_id for one in newest_evaluations(conn, notes, "farms")] == ids[2::-1]
    (found,) = newest_evaluations(conn, notes, "farms", "d2", "index")
    assert (found.evaluation_id, found.run_id, found.model_name, found.column) == (
        *(ids[2], run_id, "made-up"),
        str(notes),
    )
    assert (found.metrics, found.queries, found.dagster_run_id) == (METRICS, 3, None)
    assert fetch(conn, "SELECT scores FROM embedding_evaluations WHERE evaluation_id = %(id)s", id=ids[0]) == [
        ({"query_ids": ["q"]},)
    ]


def test_evaluations_of_another_column_are_not_among_them(
    conn: connection, notes: TextColumn, numbered: TextColumn
) -> None:
    """Each column has a history of its own."""
    record_evaluation(conn, notes, target_of(conn, notes), "farms", "d", "exact", 3, METRICS)
    assert newest_evaluations(conn, numbered) == []


def test_ids_are_found_as_the_column_has_them(conn: connection, notes: TextColumn, numbered: TextColumn) -> None:
    """ "7" is an integer and "007" is none; ids of text are themselves, whatever they look like."""
    add_rows(conn, numbered, {7: "seven", -8: "minus eight", 2**62: "many"})
    add_rows(conn, notes, {"007": "agent", "it's 50%": "half", "ü": "u"})
    asked = ["7", "007", "7.0", "-8", "", "x", "+7", " 7", "9", str(2**62), str(2**63), "9" * 5000, "\u0667", "²"]
    run_id = target_of(conn, numbered)
    assert set(rows_of_ids(conn, numbered, run_id, asked)) == {"7", "-8", str(2**62)}
    assert set(rows_of_ids(conn, notes, run_id, [*asked, "it's 50%", "ü", "u"])) == {"007", "it's 50%", "ü"}
    assert rows_of_ids(conn, numbered, run_id, []) == {}


def test_a_row_without_a_vector_of_the_run_is_there_and_not_embedded(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is one with a vector of another run; many ids are asked for in parts."""
    monkeypatch.setattr(evaluations, "IDS_AT_ONCE", 2)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 5)})
    embed(conn, numbered)
    second = change_recipe(conn, numbered, "second")
    execute(conn, "UPDATE numbered SET embedding_run_id = %(run)s WHERE id = 1", run=second)
    execute(conn, "INSERT INTO numbered (id, body) VALUES (5, 'new')")
    found = rows_of_ids(conn, numbered, second, [str(n) for n in range(1, 7)])
    assert found == {"1": True, "2": False, "3": False, "4": False, "5": False}
