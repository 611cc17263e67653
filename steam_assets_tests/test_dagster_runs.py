"""Runs through Dagster from a command: only what needs it, in as few runs as possible."""

from collections.abc import Callable

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.jobs import checks_job_name, column_job_name
from steam_assets.defs.runs import RunOutcome, embed_column, plan_column, run_checks, stretches
from steam_assets.id_range import IdRange
from steam_assets.store.database import connect, find_database
from steam_assets_tests.dagster_home import contents, embedded_rows
from steam_assets_tests.rows import execute, fetch

A, B, C, D, E = (IdRange(n, n + 1) for n in range(5))


def connect_here() -> connection:
    """A connection to the test's database."""
    return connect(find_database())


@pytest.fixture
def four_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications in four ranges and one ahead of them."""
    monkeypatch.setattr("steam_assets.store.ranges.FEWEST_RANGES", 4)


@pytest.fixture
def fill(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Callable[..., list[RunOutcome]]:
    """Fills what is pending of the applications, with a limit if one is given."""

    def run(limit: int | None = None) -> list[RunOutcome]:
        job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
        return list(embed_column(instance, job, APPLICATIONS, connect_here, limit))

    return run


@pytest.mark.parametrize(
    ("wanted", "longest", "expected"),
    [
        ([A, B, D], 9, [[A, B], [D]]),
        ([A, B, C, D, E], 2, [[A, B], [C, D], [E]]),
        ([], 9, []),
        ([E], 1, [[E]]),
    ],
)
def test_neighbouring_ranges_share_a_run(wanted: list[IdRange], longest: int, expected: list[list[IdRange]]) -> None:
    """Dagster runs contiguous keys only, so a gap starts another run."""
    assert list(stretches([A, B, C, D, E], wanted, longest)) == expected


@pytest.mark.usefixtures("few_ranges")
def test_every_pending_row_is_filled_in_one_run_and_nothing_the_second_time(
    fill: Callable[..., list[RunOutcome]], tables: connection
) -> None:
    """A column of few ranges needs one run; when it is done, none is started."""
    (outcome,) = fill()
    assert (outcome.rows, outcome.errors) == (24, ())
    before = contents(tables, APPLICATIONS)

    assert fill() == []
    assert contents(tables, APPLICATIONS) == before


@pytest.mark.usefixtures("four_ranges")
def test_only_ranges_with_changed_rows_are_run_again(
    fill: Callable[..., list[RunOutcome]], instance: dg.DagsterInstance, tables: connection
) -> None:
    """Two changed texts in two distant ranges are two runs of one range each, and two rows."""
    fill()
    execute(tables, "UPDATE applications SET short_description = 'Now about sailing.' WHERE appid IN (20, 200)")
    plan = plan_column(instance, APPLICATIONS, connect_here)
    assert plan.rows == 2
    assert [(bounds.start, bounds.stop) for bounds in plan.wanted] == [(None, 70), (190, 251)]

    assert [(outcome.ranges, outcome.rows) for outcome in fill()] == [(1, 1), (1, 1)]


def test_what_a_plan_has_scanned_is_not_scanned_again_by_the_checks_after_it(
    fill: Callable[..., list[RunOutcome]],
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    tables: connection,
) -> None:
    """Where there is nothing to do, that is known by reading everything; any other check reads for itself."""
    checks = definitions.resolve_job_def(checks_job_name(APPLICATIONS))
    assert plan_column(instance, APPLICATIONS, connect_here).scanned == {}
    fill()
    plan = plan_column(instance, APPLICATIONS, connect_here)
    assert plan.scanned[APPLICATIONS].state.embedded == plan.scanned[APPLICATIONS].state.total - 1 == 24
    execute(tables, "UPDATE applications SET short_description = 'Now about sailing.' WHERE appid = 20")
    assert run_checks(instance, checks, plan.scanned) == []
    assert "description_embedding_complete" in run_checks(instance, checks)
    assert plan_column(instance, APPLICATIONS, connect_here).scanned == {}


def test_a_limit_ends_after_exactly_so_many_rows(fill: Callable[..., list[RunOutcome]], tables: connection) -> None:
    """Seven rows of ranges of three are two ranges and a third of the next, and no range is begun after that."""
    assert sum(outcome.rows for outcome in fill(limit=7)) == 7
    assert embedded_rows(tables, APPLICATIONS) == 7
    assert len(fetch(tables, "SELECT FROM embedding_run_ranges")) == 3
