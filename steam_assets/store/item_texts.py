"""The texts of store pages from which known items are made: names, short and long descriptions. Reads only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.catalog import find_table
from steam_assets.store.states import names

PAGE_ROWS = 500
ITEM_COLUMNS = {"name", "short_description", "about_the_game", "detailed_description"}
LONG = sql.SQL("coalesce(nullif(btrim(t.about_the_game), ''), t.detailed_description)")

COUNT = sql.SQL("SELECT count(*) FROM {table}")

# By a hash of id and seed: a sample that is the same for everyone with these rows, whatever their order on disk.
# octet_length, because length would read every long text.
IDS = sql.SQL("""
    SELECT t.{id}
    FROM {table} AS t
    WHERE octet_length(t.short_description) >= {shortest_query}
      AND {long_enough}
    ORDER BY md5(concat({seed}, ' ', t.{id})), t.{id}
""")
LONG_ENOUGH = sql.SQL("octet_length({long}) >= {shortest_document}")

TEXTS = sql.SQL("""
    SELECT t.{id}::text,
           coalesce(t.name, ''),
           t.short_description,
           {long}
    FROM {table} AS t
    JOIN unnest({ids}) WITH ORDINALITY AS wanted (id, place) ON wanted.id = t.{id}
    ORDER BY wanted.place
""")


@dataclass(frozen=True)
class ItemTexts:
    """A store page's id, name and descriptions as they are stored; ``long`` is None where a page has none."""

    id: str
    name: str
    short: str
    long: str | None


def has_item_texts(conn: connection, column: TextColumn) -> bool:
    """Whether the column's table has a name, a short description and long ones, whoever may read them."""
    table = find_table(conn, column.schema, column.table)
    return table is not None and set(table.columns) >= ITEM_COLUMNS


def count_pages(conn: connection, column: TextColumn) -> int:
    """Rows of the column's table."""
    with conn.cursor() as cursor:
        cursor.execute(COUNT.format(**names(column)))
        (rows,) = cursor.fetchone() or (0,)
    return int(rows)


def item_ids(
    conn: connection, column: TextColumn, seed: int, shortest_query: int, shortest_document: int | None
) -> list[int | str]:
    """Ids of pages with a short description of so many bytes, and a long one where that is asked for, shuffled."""
    long_enough: sql.Composable = sql.SQL("TRUE")
    if shortest_document is not None:
        long_enough = LONG_ENOUGH.format(long=LONG, shortest_document=sql.Literal(shortest_document))
    statement = IDS.format(
        **names(column),
        seed=sql.Literal(seed),
        shortest_query=sql.Literal(shortest_query),
        long_enough=long_enough,
    )
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return [id_ for (id_,) in cursor.fetchall()]


def read_items(conn: connection, column: TextColumn, ids: Sequence[int | str]) -> Iterator[ItemTexts]:
    """The texts of these pages, in this order, a page of rows at a time; those deleted meanwhile are missing."""
    for start in range(0, len(ids), PAGE_ROWS):
        page = sql.Literal(list(ids[start : start + PAGE_ROWS]))
        with conn.cursor() as cursor:
            cursor.execute(TEXTS.format(**names(column), long=LONG, ids=page))
            rows = cursor.fetchall()
        yield from (ItemTexts(*row) for row in rows)
