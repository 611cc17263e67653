"""What `steam-assets ranges` says is counted in the database now, for every range that Dagster has."""

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.range_status import ColumnRanges, RangeStatus, column_ranges
from steam_assets.store.database import connect, find_database
from steam_assets.store.ranges import ROWS_PER_RANGE
from steam_assets_tests.dagster_home import materialize
from steam_assets_tests.rows import execute


def connect_here() -> connection:
    """A connection to the test's database."""
    return connect(find_database())


def holding(*rows: int) -> ColumnRanges:
    """A column with so many rows in its ranges."""
    return ColumnRanges(
        "t.v", "t_id_range", tuple(RangeStatus(str(n), count, 0, None) for n, count in enumerate(rows)), 0
    )


def test_ranges_are_listed_with_their_rows_what_is_pending_and_when_they_were_filled(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Every registered key; the one ahead of the newest id is empty, and those not yet run were never filled."""
    materialize(instance, definitions, APPLICATIONS, ranges=2)
    execute(tables, "UPDATE applications SET short_description = 'Now about sailing.' WHERE appid = 20")
    found = column_ranges(instance, APPLICATIONS, connect_here)

    assert [status.key for status in found.ranges] == [
        bounds.key for bounds in registered_ranges(instance, APPLICATIONS)
    ]
    assert [status.pending for status in found.ranges] == [1, 0, 3, 3, 3, 3, 3, 3, 0]
    assert [status.age_s is None for status in found.ranges] == [False, False, *[True] * 7]
    assert all(0 <= (status.age_s or 0) < 600 for status in found.ranges)
    assert (found.rows, found.pending, found.rows_beyond, found.ranges[-1].rows) == (25, 19, 0, 0)
    assert found.partitions == "applications_id_range"


def test_a_vector_that_is_to_be_cleared_counts_as_pending(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Its text has become blank: the range has work to do, though nothing to encode."""
    materialize(instance, definitions, APPLICATIONS)
    execute(tables, "UPDATE applications SET name = ' ', short_description = NULL WHERE appid = 20")
    first, *_ = column_ranges(instance, APPLICATIONS, connect_here).ranges
    assert first.pending == 1


def test_new_rows_get_their_ranges_before_they_are_counted(instance: dg.DagsterInstance, tables: connection) -> None:
    """So that none is left out, however far beyond the last range it is."""
    before = column_ranges(instance, APPLICATIONS, connect_here)
    execute(tables, "INSERT INTO applications (appid, name) VALUES (1000000, 'Far away')")
    after = column_ranges(instance, APPLICATIONS, connect_here)
    assert (after.rows, after.rows_beyond) == (before.rows + 1, 0)
    assert len(after.ranges) > len(before.ranges)


def test_a_table_without_rows_has_no_ranges(instance: dg.DagsterInstance, tables: connection) -> None:
    """And nothing is skewed."""
    execute(tables, "DELETE FROM reviews")
    found = column_ranges(instance, REVIEWS, connect_here)
    assert (found.ranges, found.rows, found.pending, found.fullest, found.skew) == ((), 0, 0, 0, 1.0)
    assert not found.is_skewed


def test_skew_compares_the_fullest_range_with_the_median_of_those_that_are_not_empty() -> None:
    """One is what a cut gives; the empty range ahead does not count."""
    assert holding(10, 10, 10, 0).skew == 1
    assert holding(10, 20, 70, 0, 0).skew == 3.5
    assert holding(0, 0).skew == 1


@pytest.mark.parametrize(
    ("rows", "skewed"),
    [
        ((3, 3, 3, 2_000), False),
        ((5_000, 5_000, 9_000), False),
        ((5_000, 5_000, 15_001), True),
        ((1_000_000,), True),
        ((25_000,) * 400, False),
        ((*(25_000,) * 399, 80_000), True),
    ],
    ids=["small", "grown", "skewed", "never cut", "large", "large and skewed"],
)
def test_a_new_cut_is_advised_where_it_would_make_the_fullest_range_much_smaller(
    rows: tuple[int, ...], skewed: bool
) -> None:
    """Not where a few hundred rows are beside a few: that costs nobody time. A table of one range has skew 1."""
    assert ROWS_PER_RANGE == 5_000
    assert holding(*rows).is_skewed is skewed


def test_everything_is_in_the_json(instance: dg.DagsterInstance, tables: connection) -> None:
    """Each range, and what is derived from all."""
    found = column_ranges(instance, REVIEWS, connect_here).as_json()
    assert list(found) == [
        *("column", "partitions", "ranges", "rows_beyond"),
        *("rows", "pending", "fullest", "median", "skew", "is_skewed"),
    ]
