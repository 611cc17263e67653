"""Cutting a table into id ranges of equal row counts, and keeping one ahead of its newest id. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import BOUND_BYTES, EVERYTHING, IdRange, encode_bound
from steam_assets.store.states import in_range, names

ROWS_PER_RANGE = 5_000
FEWEST_RANGES = 8
MOST_RANGES = 400
"""Dagster stays fast with a few hundred keys an asset; its UI slows down with tens of thousands."""

MEASURE = sql.SQL("SELECT count(t.{id}), min(t.{id}), max(t.{id}) FROM {table} AS t WHERE {in_range}")

# Exact and in the column's own type and collation: 0.6 s per million text ids (research/postgres.md 5).
QUANTILES = sql.SQL("""
    SELECT percentile_disc({fractions}::float8[]) WITHIN GROUP (ORDER BY t.{id})::{type}[]
    FROM {table} AS t
    WHERE {in_range}
""")

# A shortened bound separates as the id did when it is not above the id, and no other id lies between the two.
SEPARATES = sql.SQL("""
    SELECT t.{id} >= {prefix}
           AND NOT EXISTS (SELECT FROM {table} AS before WHERE before.{id} >= {prefix} AND before.{id} < {bound})
    FROM {table} AS t
    WHERE t.{id} = {bound}
""")


def cut_ranges(conn: connection, column: TextColumn, ranges: int | None = None) -> list[IdRange]:
    """Contiguous ranges over the whole table, ascending, the first open below.

    BIGINT tables get one range ahead of their newest id; the last range of a TEXT table is open above. An empty table
    has none yet: ranges are never cut anew, and one made now would take in all rows of the first load.
    """
    found = _measure(conn, column, EVERYTHING)
    if not found.rows:
        return []
    wanted = ranges or min(MOST_RANGES, max(-(-found.rows // ROWS_PER_RANGE), min(FEWEST_RANGES, found.rows), 1))
    cuts = _quantiles(conn, column, EVERYTHING, found.rows, wanted)
    if column.id_type == "text":
        return _between([None, *_short_bounds(conn, column, cuts), None])
    stop = found.newest + 1
    return _between([None, *cuts, stop, stop + found.width(wanted)])


def extend_ranges(conn: connection, column: TextColumn, registered: Sequence[IdRange]) -> list[IdRange]:
    """The ranges to add so that one lies ahead of the newest id again; none for TEXT ids, whose last range is open."""
    if column.id_type == "text" or not registered:
        return []
    last = registered[-1]
    assert isinstance(last.stop, int)
    in_last = _measure(conn, column, IdRange(last.start, None))
    if not in_last.rows:
        return []
    beyond = IdRange(last.stop, None)
    new = _measure(conn, column, beyond)
    if not new.rows:
        width = last.stop - last.start if isinstance(last.start, int) else in_last.width(1)
        return [IdRange(last.stop, last.stop + width)]
    wanted = min(MOST_RANGES, -(-new.rows // ROWS_PER_RANGE))
    stop = new.newest + 1
    cuts = _quantiles(conn, column, beyond, new.rows, wanted)
    return _between([last.stop, *cuts, stop, stop + new.width(wanted)])


def check_contiguous(ranges: Sequence[IdRange]) -> None:
    """Raise when an id could fall between two ranges or outside all of them."""
    holes = [(a, b) for a, b in pairwise(ranges) if a.stop is None or a.stop != b.start]
    if holes or (ranges and ranges[0].start is not None):
        raise AssertionError(f"registered id ranges are not contiguous from the first id on: {holes or ranges[0]}")


@dataclass(frozen=True)
class _Measured:
    """Rows of a range, and its first and last id; the ids are only looked at where they are integers."""

    rows: int
    oldest: int
    newest: int

    def width(self, ranges: int) -> int:
        """Ids that a range of so many spans on average: as many rows again would fit in a range of this width."""
        return max(1, (self.newest - self.oldest + 1) // ranges)


def _measure(conn: connection, column: TextColumn, id_range: IdRange) -> _Measured:
    with conn.cursor() as cur:
        cur.execute(MEASURE.format(**names(column), in_range=in_range(column, id_range)))
        row = cur.fetchone()
    assert row is not None
    return _Measured(*row)


def _quantiles(conn: connection, column: TextColumn, id_range: IdRange, rows: int, ranges: int) -> list[int | str]:
    """The first ids of the second to the last of ``ranges`` ranges with equal rows; fewer when ``rows`` are fewer."""
    ranges = min(ranges, rows)
    if ranges < 2:
        return []
    # percentile_disc gives row ceil(fraction * rows); a range begins one row behind the last row of the one before.
    fractions = [(n * rows // ranges + 0.5) / rows for n in range(1, ranges)]
    array = sql.Identifier("pg_catalog", "int8" if column.id_type == "bigint" else "text")
    statement = QUANTILES.format(
        **names(column), in_range=in_range(column, id_range), type=array, fractions=sql.Literal(fractions)
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        row = cur.fetchone()
    assert row is not None
    return list(dict.fromkeys(row[0] or ()))


def _between(bounds: Sequence[int | str | None]) -> list[IdRange]:
    return [IdRange(start, stop) for start, stop in pairwise(bounds)]


def _short_bounds(conn: connection, column: TextColumn, cuts: Sequence[int | str]) -> list[str]:
    """Cuts whose keys fit: a long id is shortened to a prefix that still separates, or the cut is given up."""
    bounds = [str(cut) if fits(str(cut)) else _separating_prefix(conn, column, str(cut)) for cut in cuts]
    return list(dict.fromkeys(bound for bound in bounds if bound is not None))


def fits(bound: str) -> bool:
    """A key can hold this id."""
    return len(encode_bound(bound)) <= BOUND_BYTES


def _separating_prefix(conn: connection, column: TextColumn, bound: str) -> str | None:
    """The longest prefix of an id that a key can hold, when it parts the table as the id does."""
    prefix = next(bound[:length] for length in range(len(bound), -1, -1) if fits(bound[:length]))
    with conn.cursor() as cur:
        cur.execute(SEPARATES.format(**names(column), bound=sql.Literal(bound), prefix=sql.Literal(prefix)))
        row = cur.fetchone()
    return prefix if row is not None and row[0] else None
