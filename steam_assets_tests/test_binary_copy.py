"""Vectors sent in binary: exact, into the right rows, of tables with any key, name and id."""

import json

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn, check_registry
from steam_assets.id_range import IdRange
from steam_assets_tests.rows import (
    ODD_IDS,
    add_columns,
    add_rows,
    embed,
    encode,
    execute,
    fetch,
    make_table,
    read_all,
    set_text,
    state_of,
    target_of,
    vectors_of,
    write_all,
)


@pytest.mark.parametrize("key", ["smallint", "integer", "bigint", "text", "varchar(2000)", 'text COLLATE "pg_c_utf8"'])
def test_a_vector_in_the_table_equals_the_same_numbers_sent_as_text(conn: connection, key: str) -> None:
    """Binary COPY puts each value, bit for bit, into its own row: any key, of any length."""
    is_integer = key in ("smallint", "integer", "bigint")
    column = TextColumn(table="t", id="id", text="body", vector="v", id_type="bigint" if is_integer else "text")
    make_table(conn, column, key)
    if is_integer:
        add_rows(conn, column, {n: f"text {n}" for n in (-32768, -1, 0, 1, 32767)})
    else:
        add_rows(conn, column, {id_: f"text {id_}" for id_ in ODD_IDS})
    pages = read_all(conn, column)
    counts = write_all(conn, column, [encode(page) for page in pages])
    assert counts.written == sum(map(len, pages)) == state_of(conn, column).embedded

    found = fetch(conn, "SELECT id, body, v::text, v_source_md5 = md5(body)::uuid, embedding_run_id FROM t")
    for id_, body, vector, digest_fits, run_id in found:
        assert (body, digest_fits, run_id) == (f"text {id_}", True, target_of(conn, column))
        ((expected,),) = [vectors_of([page.source_md5[page.texts.index(body)]]) for page in pages if body in page.texts]
        assert np.array_equal(np.array(json.loads(str(vector)), dtype=np.float32), expected)
        as_text = "[" + ",".join(map(str, expected.tolist())) + "]"
        with conn, conn.cursor() as cur:
            cur.execute("SELECT v = %(vector)s FROM t WHERE id = %(id)s", {"vector": as_text, "id": id_})
            assert cur.fetchone() == (True,)


def test_two_vector_columns_of_a_table_of_ones_own_are_one_entry_each(conn: connection) -> None:
    """Mixed case, spaces, quotes and percents in every name; an integer key; neither column touches the other."""
    first = TextColumn(
        schema='My "Shop"',
        table="Order Lines%s",
        id="Line No",
        text="Remark's",
        vector="Remark Vector",
        run="Run %(x)s",
    )
    second = TextColumn(
        schema=first.schema, table=first.table, id=first.id, text="Reply {t}", vector="Reply;--", run="Reply;--_run_id"
    )
    check_registry((first, second))
    execute(conn, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(first.schema)))
    make_table(conn, first, "integer")
    table = sql.Identifier(first.schema, first.table)
    execute(conn, sql.SQL("ALTER TABLE {} ADD COLUMN {} text").format(table, sql.Identifier(second.text)))
    add_columns(conn, second)
    add_rows(conn, first, {-7: "below zero", 1: "one", 2: "two", 3: None})
    add_rows(conn, second, {10: "ten"})

    assert embed(conn, first).written == 3
    assert (state_of(conn, first).embedded, state_of(conn, second).embedded, state_of(conn, second).missing) == (
        3,
        0,
        1,
    )
    assert embed(conn, second).written == 1
    set_text(conn, first, 1, "changed")
    assert [state_of(conn, column).pending for column in (first, second)] == [1, 0]
    assert embed(conn, first).written == 1
    for column, blank in ((first, 2), (second, 4)):
        state = state_of(conn, column)
        assert (state.total, state.blank, state.coverage) == (5, blank, 1.0)
        assert all(found.rows == 0 for found in state.offences.values())


def test_a_halfvec_column_is_filled_too(conn: connection, numbered: TextColumn) -> None:
    """The server rounds to 16 bit; the states read it like any other."""
    execute(conn, "ALTER TABLE numbered ALTER body_vector TYPE halfvec(8)")
    add_rows(conn, numbered, {n: f"text {n}" for n in range(5)})
    assert embed(conn, numbered).written == 5
    state = state_of(conn, numbered)
    assert (state.embedded, state.offences["norm"].rows, state.offences["dimension"].rows) == (5, 0, 0)


def test_ranges_of_ids_with_percents_and_quotes_are_written(conn: connection, notes: TextColumn) -> None:
    """A % in an id is no placeholder, wherever a statement holds a range's bounds."""
    add_rows(conn, notes, {"50%": "a", "50%s": "b", "%(run_id)s": "c", "it's %": "d", "{id}": "e"})
    for start, stop in ((None, "50%"), ("50%", "50%s"), ("50%s", "it's %"), ("it's %", "{id}"), ("{id}", None)):
        assert embed(conn, notes, IdRange(start, stop)).written == 1
