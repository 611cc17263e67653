"""Runs through Dagster from a command: only what needs it, in as few runs as possible, and the dead are buried."""

from collections.abc import Callable
from contextlib import ExitStack, closing

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.runs import RunOutcome, embed_column, fail_lost_runs, plan_column, range_statuses, stretches
from steam_assets.id_range import IdRange
from steam_assets.store.database import connect, find_database
from steam_assets.store.locks import living_run, run_lock
from steam_assets.store.runs import start_range
from steam_assets_tests.dagster_home import contents, embedded_rows, materialize
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


def test_a_limit_ends_after_exactly_so_many_rows(fill: Callable[..., list[RunOutcome]], tables: connection) -> None:
    """Seven rows of ranges of three are two ranges and a third of the next, and no range is begun after that."""
    assert sum(outcome.rows for outcome in fill(limit=7)) == 7
    assert embedded_rows(tables, APPLICATIONS) == 7
    assert len(fetch(tables, "SELECT FROM embedding_run_ranges")) == 3


def test_ranges_are_listed_with_what_is_in_them_and_what_is_pending(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """`steam-assets ranges` shows every registered key; the one ahead of the newest id is empty."""
    materialize(instance, definitions, APPLICATIONS, ranges=2)
    found = range_statuses(instance, APPLICATIONS, connect_here)

    assert [status.key for status in found] == [bounds.key for bounds in registered_ranges(instance, APPLICATIONS)]
    assert [status.pending for status in found] == [0, 0, 3, 3, 3, 3, 3, 3, 0]
    assert sum(status.rows for status in found) == 25
    assert found[-1].rows == 0


def begin_range(instance: dg.DagsterInstance, definitions: dg.Definitions, conn: connection) -> str:
    """A run that Dagster takes for started, with a range that it has begun; its id."""
    job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    with conn:
        start_range(conn, APPLICATIONS, 1, "~:000000000040", run.run_id, "cpu", "fp32")
    return run.run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """What Dagster shows for a run."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_has_died_is_marked_failed_and_its_range_lost(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A killed process cannot say so; its lock is free, and the next command says it."""
    run_id = begin_range(instance, definitions, tables)

    assert fail_lost_runs(instance, connect_here) == [run_id]
    assert status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE
    assert fetch(tables, "SELECT status FROM embedding_run_ranges") == [("lost",)]
    assert fail_lost_runs(instance, connect_here) == []


def test_a_living_run_is_left_alone(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Whoever holds its lock is at work, in whatever process."""
    run_id = begin_range(instance, definitions, tables)
    with closing(connect_here()) as worker:
        run_lock(worker, run_id)
        assert fail_lost_runs(instance, connect_here) == []
    assert status_of(instance, run_id) is dg.DagsterRunStatus.STARTED
    assert fetch(tables, "SELECT status FROM embedding_run_ranges") == [("running",)]


def test_a_run_that_has_just_started_is_given_time_and_others_are_none_of_ours(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """Between a run's start and its lock the model's directory is read; a user's own jobs take no lock at all."""
    ours = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    young = instance.create_run_for_job(ours, status=dg.DagsterRunStatus.STARTED)

    @dg.job
    def somebody_s_own() -> None:
        """Not a job of this package."""

    theirs = instance.create_run_for_job(somebody_s_own, status=dg.DagsterRunStatus.STARTED)
    assert fail_lost_runs(instance, connect_here) == []
    for run in (young, theirs):
        assert status_of(instance, run.run_id) is dg.DagsterRunStatus.STARTED


def test_a_run_between_two_steps_is_given_time(
    instance: dg.DagsterInstance, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes the lock anew; a run that has none now and has one a moment later lives."""
    monkeypatch.setattr("steam_assets.defs.runs.STARTING_S", -1.0)
    job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    run_id = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
    with ExitStack() as next_step:
        monkeypatch.setattr(
            "steam_assets.defs.runs.time.sleep", lambda _: next_step.enter_context(living_run(connect_here, run_id))
        )
        assert fail_lost_runs(instance, connect_here) == []
        assert status_of(instance, run_id) is dg.DagsterRunStatus.STARTED

    monkeypatch.setattr("steam_assets.defs.runs.time.sleep", lambda _: None)
    assert fail_lost_runs(instance, connect_here) == [run_id]
    assert status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE
