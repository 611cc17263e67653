"""Rows of a file are judged by the table as it is now."""

from hashlib import md5

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.import_vectors import judge_rows, texts_of
from steam_assets_tests.rows import ODD_IDS, add_rows, change_recipe, embed, fetch, set_text, target_of


def test_every_state_is_told_in_the_order_asked_for(conn: connection, notes: TextColumn) -> None:
    """An id that is not in the table is left out; a blank text is blank even with a vector."""
    add_rows(conn, notes, {"stale": "a", "changed": "b", "blank": "c"})
    embed(conn, notes)
    change_recipe(conn, notes, "second")
    add_rows(conn, notes, {"embedded": "d", "empty": " ", "none": None})
    set_text(conn, notes, "blank", "\n")
    with conn.cursor() as cursor:
        run_id = target_of(conn, notes)
        cursor.execute("UPDATE notes SET embedding_run_id = %s WHERE id = 'changed'", (run_id,))
    set_text(conn, notes, "changed", "B")
    with conn.cursor() as cursor:
        copied = (
            "body_vector = (SELECT body_vector FROM notes WHERE id = 'stale'), body_vector_source_md5 = md5(body)::uuid"
        )
        cursor.execute(f"UPDATE notes SET {copied}, embedding_run_id = %s WHERE id = 'embedded'", (run_id,))  # noqa: S608
    conn.commit()

    asked = ["empty", "none", "unknown", "changed", "blank", "embedded", "stale"]
    found = judge_rows(conn, notes, run_id, asked)
    assert [(asked[row.index], row.state) for row in found] == [
        ("empty", "blank"),
        ("none", "blank"),
        ("changed", "stale"),
        ("blank", "blank"),
        ("embedded", "embedded"),
        ("stale", "stale"),
    ]
    assert [row.source_md5 for row in found] == [
        md5(t, usedforsecurity=False).digest() for t in (b" ", b"", b"B", b"\n", b"d", b"a")
    ]
    versions = {str(row[0]): row[1] for row in fetch(conn, "SELECT id, xmin::text::bigint FROM notes")}
    assert [row.row_version for row in found] == [versions[asked[row.index]] for row in found]


def test_odd_ids_are_ids_like_any_other(conn: connection, notes: TextColumn, numbered: TextColumn) -> None:
    """Quotes, line ends, percent signs; and the ends of 64 bits."""
    add_rows(conn, notes, {id_: f"text of {id_}" for id_ in ODD_IDS})
    assert [row.index for row in judge_rows(conn, notes, 1, ODD_IDS)] == list(range(len(ODD_IDS)))
    assert texts_of(conn, notes, ODD_IDS) == {id_: f"text of {id_}" for id_ in ODD_IDS}
    ends = [-(2**63), 2**63 - 1]
    add_rows(conn, numbered, dict.fromkeys(ends, "text"))
    assert [row.state for row in judge_rows(conn, numbered, 1, ends)] == ["missing"] * 2
    assert judge_rows(conn, numbered, 1, []) == []
