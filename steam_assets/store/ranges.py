"""Cutting a table into id ranges of equal row counts, keeping one ahead of its newest id, and their age. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import BOUND_BYTES, EVERYTHING, IdRange, encode_bound
from steam_assets.store.states import estimated_rows, in_range, names

ROWS_PER_RANGE = 5_000
FEWEST_RANGES = 8
MOST_RANGES = 400
"""Dagster stays fast with a few hundred keys an asset; its UI slows down with tens of thousands."""
GREATEST_ID = 2**63 - 1

MEASURE = sql.SQL("SELECT count(t.{id}), min(t.{id}), max(t.{id}) FROM {table} AS t WHERE {in_range}")

# max() is the first entry of the index from its end; EXISTS on ids from a bound on may become a scan of the table.
NEWEST = sql.SQL("SELECT max(t.{id}) FROM {table} AS t")

AGES = """
    SELECT range_key, greatest(0, extract(epoch FROM clock_timestamp() - max(finished_at)))::float8
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
      AND status = 'done'
    GROUP BY range_key
"""

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


class BrokenRanges(SteamAssetsError):
    """The registered ranges are not what we registered: an id could fall between two of them, or into both."""


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
    return _between_integers([None, *cuts, stop, stop + found.width(full_range(found.rows))])


def full_range(rows: int) -> int:
    """Rows of a range of a table that has just been cut, of so many rows."""
    return max(ROWS_PER_RANGE, rows // MOST_RANGES)


def is_outgrown(conn: connection, column: TextColumn, last: IdRange) -> bool:
    """Whether ranges are to be added behind the last one; for integers the index alone is asked for the newest id."""
    if last.stop is None:
        return False
    if column.id_type == "text":
        return True
    newest = _newest(conn, column)
    return newest is not None and (last.start is None or newest >= int(last.start))


def extend_ranges(conn: connection, column: TextColumn, registered: Sequence[IdRange]) -> list[IdRange]:
    """The ranges to add so that every id falls in one, and one lies ahead of the newest id again.

    None for TEXT ids, whose last range is open, unless somebody has deleted it.
    """
    if not registered or not is_outgrown(conn, column, registered[-1]):
        return []
    stop = registered[-1].stop
    if not isinstance(stop, int):
        return [IdRange(stop, None)]
    full = full_range(estimated_rows(conn, column))
    beyond = IdRange(stop, None)
    new = _measure(conn, column, beyond)
    if not new.rows:
        # The last range has begun to fill: the one before it, which is full, says how densely.
        lately = _measure(conn, column, IdRange(registered[-2:][0].start, None))
        return _between_integers([stop, stop + lately.width(full)]) if lately.rows else []
    cuts = _quantiles(conn, column, beyond, new.rows, min(MOST_RANGES, -(-new.rows // ROWS_PER_RANGE)))
    ahead = new.newest + 1
    return _between_integers([stop, *cuts, ahead, ahead + new.width(full)])


def check_contiguous(column: TextColumn, ranges: Sequence[IdRange]) -> None:
    """Raise BrokenRanges when an id could fall between two ranges, into two, or below the first."""
    holes = [(a, b) for a, b in pairwise(ranges) if a.stop is None or a.stop != b.start]
    if holes:
        (before, behind), *_ = holes
        raise broken_ranges(column, f"{before.key[:80]!r} is followed by {behind.key[:80]!r}")
    if ranges and ranges[0].start is not None:
        raise broken_ranges(column, f"the first is {ranges[0].key[:80]!r}, and ids below it are in none")


def broken_ranges(column: TextColumn, found: str) -> BrokenRanges:
    """What is wrong with the registered ranges of a table, and the way out."""
    return BrokenRanges(
        f"The id ranges of {column.qualified_table} in Dagster do not follow each other: {found}. Somebody deleted or "
        "added partition keys there, and rows could be left out. Run "
        f"`steam-assets ranges --recut {column}`: it registers new ranges, and no vector is lost."
    )


def range_ages(conn: connection, column: TextColumn) -> dict[str, float]:
    """Seconds since the last finished attempt at each range that has one, by its key."""
    with conn.cursor() as cur:
        cur.execute(AGES, (column.qualified_table, column.vector))
        return dict(cur.fetchall())


@dataclass(frozen=True)
class _Measured:
    """Rows of a range, and its first and last id; the ids are only looked at where they are integers."""

    rows: int
    oldest: int
    newest: int

    def width(self, full: int) -> int:
        """Ids that ``full`` rows span at the density found, but not more than were looked at to find it."""
        return max(full, (self.newest - self.oldest + 1) * full // max(self.rows, full))


def _newest(conn: connection, column: TextColumn) -> int | None:
    with conn.cursor() as cur:
        cur.execute(NEWEST.format(**names(column)))
        row = cur.fetchone()
    return None if row is None else row[0]


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


def _between_integers(bounds: Sequence[int | str | None]) -> list[IdRange]:
    """As _between; a range that ends where no id of 64 bits can be stays open, and none begins there."""
    inside = [bound for bound in bounds if bound is None or int(bound) <= GREATEST_ID]
    return _between(inside if len(inside) == len(bounds) else [*inside, None])


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
