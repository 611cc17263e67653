"""Reading what is to be encoded: keyset pages of pending rows of an id range. Their states are defined in states.py."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import SourceTexts
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.missing_index import missing
from steam_assets.store.states import in_range, join_unembeddable, names, state_of_row

FIRST_PAGE_ROWS = 256
PAGE_ROWS = 2_048
"""A page has at most so many rows, and the first ones fewer: the encoder waits for them."""
PAGE_BYTES = 8 << 20
"""A page ends early at this much text, so that a few huge rows do not fill the memory."""

# The next rows behind a key, pending or not: this costs the same anywhere in the table. A LIMIT on pending rows would
# not: the planner cannot guess how many there are, and sorts the rest of the table for each page. OFFSET over this
# shrinking set would skip rows. Rows that are not pending come without their text; their ids say where to go on.
# OFFSET 0 keeps the planner from computing an expression again wherever its column is used: a row's state is computed
# once, and its text copied once (text || ''), for md5 and the answer: a third less time on texts of 6 KB.
WINDOW = sql.SQL("""
    SELECT id, text, row_version, decode(md5(text), 'hex')
    FROM (
        SELECT id, row_version, pending_text || '' AS text
        FROM (
            SELECT id, row_version, pending_text,
                   sum(octet_length(pending_text)) OVER (ORDER BY id) AS bytes_so_far,
                   row_number() OVER (ORDER BY id) AS row
            FROM (
                SELECT id, row_version,
                       CASE
                           WHEN state = 'missing' THEN source
                           WHEN state = 'stale' AND kind IS NULL AND source ~ '\\S' THEN source
                       END AS pending_text
                FROM (
                    SELECT t.{id} AS id, t.{text} AS source, t.row_version AS row_version, unembeddable.kind AS kind,
                           {state} AS state
                    FROM (
                        SELECT t.{id}, t.{text}, t.{vector}, t.{run}, t.{digest}, t.xmin::text::bigint AS row_version
                        FROM {table} AS t
                        WHERE {in_range}
                          AND {after}
                        ORDER BY t.{id}
                        LIMIT {rows}
                    ) AS t
                    {unembeddable}
                    OFFSET 0
                ) AS judged
                OFFSET 0
            ) AS found
        ) AS measured
        WHERE row = 1 OR coalesce(bytes_so_far, 0) <= {bytes}
        OFFSET 0
    ) AS page
    ORDER BY id
""")

# One scan for all ranges, which several processes of the server can share. A row's state is computed once (OFFSET 0).
# A vector on a text that has become blank is stale, but is cleared by write.py, not encoded.
COUNT_BY_RANGE = sql.SQL("""
    SELECT range,
           count(*),
           count(*) FILTER (WHERE to_be_read),
           coalesce(sum(bytes) FILTER (WHERE to_be_read), 0),
           count(*) FILTER (WHERE NOT to_be_read)
    FROM (
        SELECT width_bucket(id, {bounds}::{type}[]) AS range,
               bytes,
               CASE state WHEN 'missing' THEN true WHEN 'stale' THEN kind IS NULL AND source ~ '\\S' END AS to_be_read
        FROM (
            SELECT t.{id} AS id, t.{text} AS source, octet_length(t.{text}) AS bytes, unembeddable.kind AS kind,
                   {state} AS state
            FROM {table} AS t
            {unembeddable}
            WHERE {in_range}
            OFFSET 0
        ) AS judged
        OFFSET 0
    ) AS found
    GROUP BY range
""")

# In the words of the partial index, where there is one: then new rows are found without reading the others.
HAS_MISSING = sql.SQL("""
    SELECT EXISTS (
        SELECT
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
          AND {missing}
          AND unembeddable.kind IS NULL
    )
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

# The rows first: beside ORDER BY the planner would have every text of the range go through regexp_replace.
SAMPLE = sql.SQL("""
    SELECT id::text,
           left(regexp_replace(text, '\\s+', ' ', 'g'), 80),
           '[' || array_to_string((vector::real[])[1:3], ', ') || ', ...]'
    FROM (
        SELECT t.{id} AS id, t.{text} AS text, t.{vector} AS vector
        FROM {table} AS t
        WHERE {in_range}
          AND t.{vector} IS NOT NULL
        ORDER BY t.{id}
        LIMIT {rows}
    ) AS first
    ORDER BY id
""")

# In the order of a hash: as good as random, and the same rows each time.
SAMPLE_TEXTS = sql.SQL("""
    SELECT t.{text}
    FROM {table} AS t
    WHERE t.{text} IS NOT NULL
    ORDER BY md5(t.{id}::text)
    LIMIT {rows}
""")


def read_pending(
    conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING, limit: int | None = None
) -> Iterator[SourceTexts]:
    """Pages of rows that ``run_id`` has yet to encode, in the table's order, each row once; at most ``limit`` rows.

    The connection should be in autocommit: each statement is short, and nothing holds back VACUUM between them.
    """
    page: list[_PendingRow] = []
    size, rows = 0, min(FIRST_PAGE_ROWS, PAGE_ROWS)
    for row in islice(_pending_rows(conn, column, run_id, id_range), limit):
        row_bytes = len(row.text) if row.text.isascii() else len(row.text.encode())
        if page and size + row_bytes > PAGE_BYTES:
            yield _source_texts(page)
            page, size = [], 0
        page.append(row)
        size += row_bytes
        if len(page) == rows:
            yield _source_texts(page)
            page, size, rows = [], 0, min(2 * rows, PAGE_ROWS)
    if page:
        yield _source_texts(page)


class _PendingRow(NamedTuple):
    id: int | str
    text: str
    row_version: int
    source_md5: memoryview


def _source_texts(page: Sequence[_PendingRow]) -> SourceTexts:
    ids, texts, versions, digests = zip(*page, strict=True)
    return SourceTexts(ids, texts, versions, [bytes(digest) for digest in digests])


def _pending_rows(conn: connection, column: TextColumn, run_id: int, id_range: IdRange) -> Iterator[_PendingRow]:
    """Pending rows in the table's order, a statement for each window of the table."""
    after: sql.Composable = sql.SQL("true")
    window = min(FIRST_PAGE_ROWS, PAGE_ROWS)
    while True:
        statement = WINDOW.format(
            **_pending(column, run_id, id_range),
            after=after,
            rows=sql.Literal(window),
            bytes=sql.Literal(PAGE_BYTES),
        )
        with conn.cursor() as cur:
            cur.execute(statement)
            rows = [_PendingRow(*row) for row in cur.fetchall()]
        if not rows:
            return
        yield from (row for row in rows if row.text is not None)
        after = sql.SQL("t.{} > {}").format(sql.Identifier(column.id), sql.Literal(rows[-1].id))
        # Where bytes ended the window, the next one does not look at more rows than that.
        window = min(2 * window, PAGE_ROWS) if len(rows) == window else len(rows)


class Pending(NamedTuple):
    """What waits in a range: rows to encode with the bytes of their texts, and rows whose vector is to be cleared."""

    rows: int
    bytes: int
    to_clear: int


def count_pending(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> Pending:
    """What the next run finds to do, counted now; its ``rows`` are those that ``read_pending`` would yield."""
    return count_pending_by_range(conn, column, run_id, [id_range])[0].pending


class RangeCounts(NamedTuple):
    """The rows of a range, whatever their state, and what waits there."""

    rows: int
    pending: Pending


def count_pending_by_range(
    conn: connection, column: TextColumn, run_id: int, id_ranges: Sequence[IdRange]
) -> list[RangeCounts]:
    """The counts of each of ``id_ranges``, which are neighbours and ascending, in one scan of the table."""
    if not id_ranges:
        return []
    whole = IdRange(id_ranges[0].start, id_ranges[-1].stop)
    statement = COUNT_BY_RANGE.format(
        **_pending(column, run_id, whole),
        # Compared in the column's collation: an array's own is the default one, which gives way.
        bounds=sql.Literal([id_range.start for id_range in id_ranges[1:]]),
        type=sql.Identifier("pg_catalog", "int8" if column.id_type == "bigint" else "text"),
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        found = {number: RangeCounts(rows, Pending(*pending)) for number, rows, *pending in cur.fetchall()}
    nothing = RangeCounts(0, Pending(0, 0, 0))
    return [found.get(number, nothing) for number in range(len(id_ranges))]


def _pending(column: TextColumn, run_id: int, id_range: IdRange) -> dict[str, sql.Composable]:
    return {
        **names(column),
        "unembeddable": join_unembeddable(column, run_id),
        "in_range": in_range(column, id_range),
        "state": state_of_row(column, run_id),
        "missing": missing(column, "t"),
    }


def has_missing(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> bool:
    """Whether any row of the range waits for its first vector; with the partial index a matter of milliseconds."""
    return _exists(conn, HAS_MISSING, column, run_id, id_range)


def has_pending(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> bool:
    """Whether any row of the range waits to be encoded or cleared; stops at the first, and looks at new rows first."""
    return has_missing(conn, column, run_id, id_range) or _exists(conn, HAS_PENDING, column, run_id, id_range)


def _exists(conn: connection, query: sql.SQL, column: TextColumn, run_id: int, id_range: IdRange) -> bool:
    with conn.cursor() as cur:
        cur.execute(query.format(**_pending(column, run_id, id_range)))
        return cur.fetchone() == (True,)


def sample_texts(conn: connection, column: TextColumn, rows: int) -> list[str]:
    """Texts of any rows, embedded or not, blank ones among them."""
    with conn.cursor() as cur:
        cur.execute(SAMPLE_TEXTS.format(**names(column), rows=sql.Literal(rows)))
        return [text for (text,) in cur.fetchall()]


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
