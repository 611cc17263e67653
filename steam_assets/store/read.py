"""Reading what is to be encoded: keyset pages of pending rows of an id range. Their states are defined in states.py."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import SourceTexts
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.states import BLANK_TEXT, in_range, join_unembeddable, names, state_of_row

PAGE_ROWS = 2_048
PAGE_BYTES = 8 << 20
"""A page ends early at this much text, so that a few huge rows do not fill the memory."""

# A keyset page costs the same anywhere in the table; OFFSET over this shrinking set would skip rows.
PENDING_PAGE = sql.SQL("""
    SELECT id, text, row_version, decode(md5(text), 'hex')
    FROM (
        SELECT id, text, row_version,
               sum(octet_length(text)) OVER (ORDER BY id) AS bytes_so_far,
               row_number() OVER (ORDER BY id) AS row
        FROM (
            SELECT t.{id} AS id, t.{text} AS text, t.xmin::text::bigint AS row_version
            FROM {table} AS t
            {unembeddable}
            WHERE {in_range}
              AND {after}
              AND {state} IN ('missing', 'stale')
              AND {to_be_read}
            ORDER BY t.{id}
            LIMIT {rows}
        ) AS page
    ) AS measured
    WHERE row = 1 OR bytes_so_far <= {bytes}
    ORDER BY id
""")

COUNT_PENDING = sql.SQL("""
    SELECT count(*), coalesce(sum(octet_length(t.{text})), 0)
    FROM {table} AS t
    {unembeddable}
    WHERE {in_range}
      AND {state} IN ('missing', 'stale')
      AND {to_be_read}
""")

HAS_PENDING = sql.SQL("""
    SELECT EXISTS (
        SELECT
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
          AND {state} IN ('missing', 'stale')
    )
""")

SAMPLE = sql.SQL("""
    SELECT t.{id}::text,
           left(regexp_replace(t.{text}, '\\s+', ' ', 'g'), 80),
           '[' || array_to_string((t.{vector}::real[])[1:3], ', ') || ', ...]'
    FROM {table} AS t
    WHERE {in_range}
      AND t.{vector} IS NOT NULL
    ORDER BY t.{id}
    LIMIT {rows}
""")

# A vector on a text that has become blank is stale but is cleared by write.py, not encoded.
TO_BE_READ = sql.SQL("NOT {blank_text} AND unembeddable.kind IS NULL")


def read_pending(
    conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING, limit: int | None = None
) -> Iterator[SourceTexts]:
    """Pages of rows that ``run_id`` has yet to encode, in the table's order, each row once.

    The connection should be in autocommit: each page is one short statement, so nothing holds back VACUUM meanwhile.
    """
    last: int | str | None = None
    remaining = limit
    while remaining is None or remaining > 0:
        statement = PENDING_PAGE.format(
            **_pending(column, run_id, id_range),
            after=sql.SQL("true") if last is None else _after(column, last),
            rows=sql.Literal(PAGE_ROWS if remaining is None else min(PAGE_ROWS, remaining)),
            bytes=sql.Literal(PAGE_BYTES),
        )
        with conn.cursor() as cur:
            cur.execute(statement)
            rows = cur.fetchall()
        if not rows:
            return
        ids, texts, versions, digests = zip(*rows, strict=True)
        yield SourceTexts(ids, texts, versions, [bytes(digest) for digest in digests])
        last = ids[-1]
        remaining = None if remaining is None else remaining - len(ids)


def count_pending(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> tuple[int, int]:
    """Rows that ``read_pending`` would yield, and the bytes of their texts."""
    with conn.cursor() as cur:
        cur.execute(COUNT_PENDING.format(**_pending(column, run_id, id_range)))
        row = cur.fetchone()
    assert row is not None
    return row[0], row[1]


def _pending(column: TextColumn, run_id: int, id_range: IdRange) -> dict[str, sql.Composable]:
    return {
        **names(column),
        "unembeddable": join_unembeddable(column, run_id),
        "in_range": in_range(column, id_range),
        "state": state_of_row(column, run_id),
        "to_be_read": TO_BE_READ.format(blank_text=BLANK_TEXT.format(**names(column))),
    }


def _after(column: TextColumn, last: int | str) -> sql.Composed:
    return sql.SQL("t.{id} > {last}").format(id=sql.Identifier(column.id), last=sql.Literal(last))


def has_pending(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> bool:
    """Whether any row of the range waits to be encoded or cleared; stops at the first."""
    with conn.cursor() as cur:
        cur.execute(HAS_PENDING.format(**_pending(column, run_id, id_range)))
        row = cur.fetchone()
    assert row is not None
    return bool(row[0])


@dataclass(frozen=True)
class SampleRow:
    """An embedded row to look at: its id, the start of its text and of its vector."""

    id: str
    text: str
    vector: str


def sample_rows(conn: connection, column: TextColumn, id_range: IdRange, rows: int = 5) -> list[SampleRow]:
    """The first embedded rows of a range."""
    with conn.cursor() as cur:
        cur.execute(SAMPLE.format(**names(column), in_range=in_range(column, id_range), rows=sql.Literal(rows)))
        return [SampleRow(*row) for row in cur.fetchall()]
