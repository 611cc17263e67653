"""A column gets its index when nothing is pending and no blocking rule is broken, though a few rows have failed."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.ready import ColumnNotReady, check_ready, finding_of, why_not_ready
from steam_assets.store.failures import FAILED_ROWS_ALLOWED
from steam_assets.store.runs import get_run
from steam_assets_tests.indexed_rows import fill
from steam_assets_tests.rows import add_rows, change_recipe, embed, execute, set_text, target_of


def why_not(conn: connection, column: TextColumn) -> str | None:
    """What the index has to wait for now."""
    return why_not_ready(column, finding_of(conn, column, get_run(conn, target_of(conn, column))))


def test_a_complete_column_is_ready(conn: connection, numbered: TextColumn) -> None:
    """Blank rows have nothing to wait for."""
    fill(conn, numbered, 20)
    add_rows(conn, numbered, {100: None, 101: " "})
    assert why_not(conn, numbered) is None


def test_a_pending_row_is_waited_for_and_named(conn: connection, numbered: TextColumn) -> None:
    """With the command that fills it."""
    fill(conn, numbered, 20)
    add_rows(conn, numbered, {100: "new"})
    set_text(conn, numbered, 7, "changed")
    said = why_not(conn, numbered)
    assert said is not None
    assert (
        "numbered.body_vector gets no index yet: complete is red. 2 rows pending (7, 100): `steam-assets embed" in said
    )
    with pytest.raises(ColumnNotReady) as raised:
        check_ready(conn, numbered, get_run(conn, target_of(conn, numbered)))
    assert raised.value.exit_code == 1
    embed(conn, numbered)
    check_ready(conn, numbered, get_run(conn, target_of(conn, numbered)))


def test_a_new_recipe_is_waited_for(conn: connection, numbered: TextColumn) -> None:
    """Vectors of the old one are of no use in the new one's index."""
    fill(conn, numbered, 20)
    change_recipe(conn, numbered, "second")
    said = why_not(conn, numbered)
    assert said is not None
    assert "complete, provenance are red" in said


def test_a_vector_of_another_dimension_is_refused(conn: connection, numbered: TextColumn) -> None:
    """The check that says so blocks."""
    fill(conn, numbered, 20)
    execute(conn, "ALTER TABLE numbered ALTER body_vector TYPE vector")
    execute(conn, "UPDATE numbered SET body_vector = '[0.6,0.8]' WHERE id = 3")
    said = why_not(conn, numbered)
    assert said is not None
    assert "dimension, provenance are red" in said


def test_one_row_in_quarantine_keeps_the_index_away_from_no_column(conn: connection, numbered: TextColumn) -> None:
    """`coverage` is red for ever then; `complete` forgives one in a thousand, and no more."""
    rows = int(1 / FAILED_ROWS_ALLOWED)
    run_id = fill(conn, numbered, rows)

    def fail(id_: int) -> None:
        execute(
            conn,
            """
            UPDATE numbered SET body_vector = NULL, embedding_run_id = NULL, body_vector_source_md5 = NULL
            WHERE id = %(id)s
            """,
            id=id_,
        )
        execute(
            conn,
            """
            INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind, reason)
            SELECT 'numbered', 'body_vector', %(run)s, id::text, md5(body)::uuid, 'failed', 'NaN'
            FROM numbered WHERE id = %(id)s
            """,
            run=run_id,
            id=id_,
        )

    fail(5)
    assert why_not(conn, numbered) is None
    fail(6)
    said = why_not(conn, numbered)
    assert said is not None
    assert "2 rows could not be embedded (5 (NaN), 6 (NaN))" in said
