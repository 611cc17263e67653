"""A column's ranges as people ask for them: rows, what is pending, how long ago each was filled, how even they are."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import median

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.partitions import current_name, register_ranges
from steam_assets.id_range import IdRange
from steam_assets.store.ranges import full_range, range_ages
from steam_assets.store.read import count_pending_by_range
from steam_assets.store.states import count_rows
from steam_assets.targets import target_run

TOO_FULL = 3
"""A new cut is worth it when a range holds so many times the rows that it would then: work to wait for, or to lose."""


@dataclass(frozen=True)
class RangeStatus:
    """A registered range: its rows, those a run would encode or clear, and seconds since it was last filled."""

    key: str
    rows: int
    pending: int
    age_s: float | None


@dataclass(frozen=True)
class ColumnRanges:
    """The ranges of a column as Dagster has them under the name ``partitions``; ``rows_beyond`` lie in none of them."""

    column: str
    partitions: str
    ranges: tuple[RangeStatus, ...]
    rows_beyond: int

    @property
    def rows(self) -> int:
        """Rows in all ranges together."""
        return sum(status.rows for status in self.ranges)

    @property
    def pending(self) -> int:
        """Rows that runs would encode or clear."""
        return sum(status.pending for status in self.ranges)

    @property
    def fullest(self) -> int:
        """Rows of the range that has the most."""
        return max((status.rows for status in self.ranges), default=0)

    @property
    def median(self) -> float:
        """Rows of the middle one of those that are not empty; 0 when all are."""
        filled = [status.rows for status in self.ranges if status.rows]
        return median(filled) if filled else 0.0

    @property
    def skew(self) -> float:
        """The fullest range against the median: 1 after a cut, and up to 2 as a table grows; 1 when all are empty."""
        return self.fullest / self.median if self.median else 1.0

    @property
    def is_skewed(self) -> bool:
        """Whether a new cut is worth it: some range holds several times what one would hold then."""
        return self.fullest > TOO_FULL * full_range(self.rows)

    def as_json(self) -> dict[str, object]:
        """Everything, ready for json.dumps."""
        derived = ("rows", "pending", "fullest", "median", "skew", "is_skewed")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def column_ranges(instance: dg.DagsterInstance, column: TextColumn, connect: Callable[[], connection]) -> ColumnRanges:
    """Every range of the column, new ones registered, counted in one scan of the table now."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        ranges = register_ranges(instance, conn, column)
        counts = count_pending_by_range(conn, column, run.run_id, ranges)
        ages = range_ages(conn, column)
        stop = ranges[-1].stop if ranges else None
        rows_beyond = 0 if stop is None else count_rows(conn, column, IdRange(stop, None))
    return ColumnRanges(
        str(column),
        current_name(instance, column),
        tuple(
            RangeStatus(id_range.key, count.rows, count.pending.rows + count.pending.to_clear, ages.get(id_range.key))
            for id_range, count in zip(ranges, counts, strict=True)
        ),
        rows_beyond,
    )
