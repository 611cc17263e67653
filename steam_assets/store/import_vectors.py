"""Which rows vectors from a file may go to: judged by id and text, in SQL. Writing them is write.py's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Ids
from steam_assets.store.states import join_unembeddable, names, state_of_row

State = Literal["blank", "failed", "embedded", "stale", "missing"]

# Compared in the column's collation: an array's own is the default one, which gives way. A blank text that has a vector
# is stale, and its vector is to be cleared, not replaced. Version and md5 are of one statement, as in read.py.
JUDGE = sql.SQL("""
    SELECT new.number,
           t.xmin::text::bigint,
           decode(md5(coalesce(t.{text}, '')), 'hex'),
           CASE WHEN t.{text} ~ '\\S' THEN {state} ELSE 'blank' END
    FROM unnest({ids}::{type}[]) WITH ORDINALITY AS new (id, number)
    JOIN {table} AS t ON t.{id} = new.id
    {unembeddable}
    ORDER BY new.number
""")

TEXTS = sql.SQL("SELECT t.{id}, t.{text} FROM {table} AS t WHERE t.{id} = ANY ({ids}::{type}[])")


@dataclass(frozen=True)
class JudgedRow:
    """A row that is in the table: its place among the ids that were asked for, its state, and what the write guards."""

    index: int
    row_version: int
    source_md5: bytes
    state: State


def judge_rows(conn: connection, column: TextColumn, run_id: int, ids: Ids) -> list[JudgedRow]:
    """The rows of these ids that the table has, in the order asked for."""
    statement = JUDGE.format(
        **_names(column, ids), state=state_of_row(column, run_id), unembeddable=join_unembeddable(column, run_id)
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        return [JudgedRow(number - 1, version, bytes(md5), state) for number, version, md5, state in cur.fetchall()]


def texts_of(conn: connection, column: TextColumn, ids: Ids) -> Mapping[int | str, str]:
    """The texts of rows, by id."""
    with conn.cursor() as cur:
        cur.execute(TEXTS.format(**_names(column, ids)))
        return dict(cur.fetchall())


def _names(column: TextColumn, ids: Sequence[int | str]) -> dict[str, sql.Composable]:
    return {
        **names(column),
        "ids": sql.Literal(list(ids)),
        "type": sql.Identifier("pg_catalog", "int8" if column.id_type == "bigint" else "text"),
    }
