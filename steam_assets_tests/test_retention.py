"""A purge makes Dagster's database smaller and changes nothing that it says of the present."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEventType
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.assets import table_key, vector_key
from steam_assets.defs.jobs import checks_job_name
from steam_assets.defs.partitions import partitions_of, registered_ranges
from steam_assets.defs.retention import PURGE_JOB, build_purge_job, build_purge_schedule, purge
from steam_assets.defs.runs import run_checks
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.dagster_history import BACKFILL_ENDED, ENDED, EXPENDABLE
from steam_assets_tests.dagster_home import Ended, embedded_rows, materialize
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.test_io_managers import refuse_to_write

DAY_S = 86_400
PARTITION_EVENTS = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
)


@pytest.fixture
def dagster_conn(instance: dg.DagsterInstance) -> Iterator[connection]:
    """A connection to Dagster's own database."""
    with closing(connect_dagster()) as conn:
        yield conn


def make_old(conn: connection, run_ids: Sequence[str], days: int = 40) -> None:
    """As if these runs had ended so many days ago."""
    execute(
        conn,
        """
        UPDATE runs
        SET end_time = end_time - %(days)s * 86400.0,
            update_timestamp = update_timestamp - make_interval(days => %(days)s)
        WHERE run_id = ANY(%(run_ids)s)
        """,
        days=days,
        run_ids=list(run_ids),
    )


def picture(instance: dg.DagsterInstance, definitions: dg.Definitions) -> dict[str, object]:
    """What the web UI says is true of the applications: partitions, their newest events with all they tell, checks."""
    key = vector_key(APPLICATIONS)
    storage = instance.event_log_storage
    checks = [
        check
        for check in definitions.resolve_asset_graph().asset_check_keys
        if check.asset_key in (key, table_key(APPLICATIONS))
    ]
    storage.wipe_asset_cached_status(key)
    status = get_and_update_asset_status_cache_value(
        instance, key, partitions_of(APPLICATIONS), dynamic_partitions_loader=instance
    )
    assert status is not None
    materialized = instance.get_materialized_partitions(key)
    return {
        "materialized": materialized,
        "status": status,
        "newest": {kind: storage.get_latest_storage_id_by_partition(key, kind) for kind in PARTITION_EVENTS},
        "materializations": {
            partition: instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
            ).records
            for partition in materialized
        },
        "assets": [record.asset_entry for record in instance.get_asset_records([key])],
        "partition_checks": storage.get_asset_check_partition_info(checks),
        "checks": storage.get_asset_check_summary_records(checks),
        "newest_checks": storage.get_latest_asset_check_execution_by_key(checks),
    }


def events_of(conn: connection, run_id: str) -> int:
    """How many events a run has."""
    ((events,),) = fetch(conn, "SELECT count(*) FROM event_logs WHERE run_id = %(run)s", run=run_id)
    assert isinstance(events, int)
    return events


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    """The runs that Dagster has."""
    return {run.run_id for run in instance.get_runs()}


def test_what_the_web_ui_says_is_the_same_before_and_after(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, dagster_conn: connection
) -> None:
    """Of runs that ended long ago, one whose ranges were all filled again goes; the others lose their log lines only.

    One of these holds the newest materialization of two ranges, one is why a range is red, and one has the answers of
    the column's own checks. A run of today keeps everything.
    """
    superseded = materialize(instance, definitions, APPLICATIONS, first=0, ranges=2).run_id
    partly = materialize(instance, definitions, APPLICATIONS, first=0, ranges=3).run_id
    refuse_to_write(tables, 100)
    failed = materialize(instance, definitions, APPLICATIONS, first=3, ranges=1)
    assert failed.errors
    run_checks(instance, definitions.resolve_job_def(checks_job_name(APPLICATIONS)))
    (checked,) = run_ids(instance) - {superseded, partly, failed.run_id}
    today = materialize(instance, definitions, APPLICATIONS, first=0, ranges=1).run_id
    make_old(dagster_conn, [superseded, partly, failed.run_id, checked])
    # As if these had been launched without checks: their materializations alone decide.
    without_checks = "DELETE FROM asset_check_executions WHERE run_id IN (%(superseded)s, %(partly)s)"
    execute(dagster_conn, without_checks, superseded=superseded, partly=partly)
    before = picture(instance, definitions)
    assert len(registered_ranges(instance, APPLICATIONS)) > len(before["materialized"]) == 3  # type: ignore[arg-type]
    events = {run_id: events_of(dagster_conn, run_id) for run_id in run_ids(instance)}

    planned = purge(instance, dagster_conn, dry_run=True)
    assert {run_id: events_of(dagster_conn, run_id) for run_id in run_ids(instance)} == events
    told: list[tuple[int, int]] = []
    done = purge(instance, dagster_conn, progress=lambda *so_far: told.append(so_far))

    assert picture(instance, definitions) == before
    assert run_ids(instance) == {partly, failed.run_id, checked, today}
    assert events_of(dagster_conn, superseded) == 0
    for thinned in (partly, failed.run_id, checked):
        assert 0 < events_of(dagster_conn, thinned) < events[thinned]
    assert events_of(dagster_conn, today) == events[today]
    assert (done.runs_deleted, done.runs_thinned) == (1, 3)
    assert done.events == sum(events.values()) - sum(events_of(dagster_conn, run_id) for run_id in events)
    assert planned == done
    assert told[-1] == (4, 4)
    orphans = "SELECT count(*) FROM {} WHERE run_id = %(run)s"
    for table in ("asset_check_executions", "run_tags"):
        assert fetch(dagster_conn, orphans.format(table), run=superseded) == [(0,)]

    again = purge(instance, dagster_conn)
    assert (again.runs_deleted, again.events) == (0, 0)
    assert embedded_rows(tables, APPLICATIONS) == 9


def test_a_range_that_is_filled_after_a_purge_is_as_any_other(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, dagster_conn: connection
) -> None:
    """Thinned runs are in nobody's way: the next run makes them superfluous, and the next purge deletes them."""
    first = materialize(instance, definitions, APPLICATIONS, first=0, ranges=2).run_id
    make_old(dagster_conn, [first])
    assert purge(instance, dagster_conn).runs_thinned == 1
    again = materialize(instance, definitions, APPLICATIONS, first=0, ranges=2)
    assert again.errors == ()
    assert purge(instance, dagster_conn).runs_deleted == 1
    assert run_ids(instance) == {again.run_id}
    assert len(instance.get_materialized_partitions(vector_key(APPLICATIONS))) == 2


def test_runs_in_progress_are_never_touched(instance: dg.DagsterInstance, dagster_conn: connection) -> None:
    """However long ago they began, and nor is what they print."""
    in_progress = (
        *(dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING),
        *(dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING),
    )
    runs = {instance.create_run_for_job(build_purge_job(), status=status).run_id for status in in_progress}
    make_old(dagster_conn, list(runs))
    printed = [printed_by(instance, run_id) for run_id in runs]
    assert purge(instance, dagster_conn) == purge(instance, dagster_conn, dry_run=True)
    assert run_ids(instance) == runs
    assert all(path.exists() for path in printed)


def test_runs_of_a_backfill_stay_as_long_as_it_goes_on(instance: dg.DagsterInstance, dagster_conn: connection) -> None:
    """Its daemon counts its runs to know what is left to do."""
    runs = {}
    for backfill in ("REQUESTED", "CANCELING", "COMPLETED_SUCCESS"):
        runs[backfill] = instance.create_run_for_job(
            build_purge_job(), status=dg.DagsterRunStatus.SUCCESS, tags={"dagster/backfill": backfill}
        ).run_id
        execute(
            dagster_conn,
            "INSERT INTO bulk_actions (key, status, timestamp, body) VALUES (%(backfill)s, %(backfill)s, now(), '')",
            backfill=backfill,
        )
    make_old(dagster_conn, list(runs.values()))
    assert purge(instance, dagster_conn).runs_deleted == 1
    assert run_ids(instance) == {runs["REQUESTED"], runs["CANCELING"]}


def printed_by(instance: dg.DagsterInstance, run_id: str, days: int = 40) -> Path:
    """A file that a step of a run printed into so many days ago."""
    path = Path(instance.storage_directory()) / run_id / "compute_logs" / "step.err"
    path.parent.mkdir(parents=True)
    path.write_text("printed\n")
    written = time.time() - days * DAY_S
    for part in (path, path.parent, path.parent.parent):
        os.utime(part, (written, written))
    return path


def test_old_logs_go_and_young_ones_stay(instance: dg.DagsterInstance, dagster_conn: connection, home: Path) -> None:
    """What steps printed, also of runs that Dagster has forgotten, and this home's own log files."""
    ended = instance.create_run_for_job(build_purge_job(), status=dg.DagsterRunStatus.SUCCESS)
    forgotten = printed_by(instance, "01234567-89ab-cdef-0123-456789abcdef")
    old, young = printed_by(instance, ended.run_id), printed_by(instance, "f" * 8 + "-89ab-cdef-0123-456789abcdef", 20)
    logs = home / "logs"
    logs.mkdir()
    for name in ("embed-1.log", "up.log", "up.log.1", "mine.txt"):
        (logs / name).write_text("a line\n")
        os.utime(logs / name, (0, 0))
    (logs / "embed-2.log").write_text("a line\n")

    done = purge(instance, dagster_conn)
    assert sorted(path.name for path in logs.iterdir()) == ["embed-2.log", "mine.txt", "up.log"]
    assert [path.parent.parent.exists() for path in (forgotten, old, young)] == [False, False, True]
    assert (done.log_files, done.log_bytes) == (4, 2 * len("a line\n") + 2 * len("printed\n"))


def test_days_are_counted_from_a_run_s_end(instance: dg.DagsterInstance, dagster_conn: connection) -> None:
    """With 30 days a run of 29 stays, and with 20 it goes."""
    run = instance.create_run_for_job(build_purge_job(), status=dg.DagsterRunStatus.FAILURE)
    make_old(dagster_conn, [run.run_id], days=29)
    assert purge(instance, dagster_conn).runs_deleted == 0
    assert purge(instance, dagster_conn, older_than_days=20).runs_deleted == 1


def test_an_interrupted_purge_leaves_no_events_without_their_run(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    tables: connection,
    dagster_conn: connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C between two batches: what is left is whole, and the next purge does it."""
    first = materialize(instance, definitions, APPLICATIONS).run_id
    second = materialize(instance, definitions, APPLICATIONS).run_id
    materialize(instance, definitions, APPLICATIONS)
    make_old(dagster_conn, [first, second])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("steam_assets.defs.retention.RUNS_AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        purge(instance, dagster_conn, progress=interrupt)
    assert len(run_ids(instance)) == 2
    without_run = "SELECT count(*) FROM event_logs WHERE run_id <> '' AND run_id NOT IN (SELECT run_id FROM runs)"
    assert fetch(dagster_conn, without_run) == [(0,)]
    assert purge(instance, dagster_conn).runs_deleted == 1


def test_the_lists_of_statuses_are_dagster_s() -> None:
    """A status that another version adds must be thought about; events of assets and checks are not expendable."""
    assert set(ENDED) == {status.value for status in FINISHED_STATUSES}
    assert set(BACKFILL_ENDED) == {status.value for status in BULK_ACTION_TERMINAL_STATUSES}
    assert set(EXPENDABLE) <= {kind.value for kind in DagsterEventType}
    assert not any(
        kind.startswith(("ASSET_CHECK", "ASSET_MAT", "ASSET_OBS", "PIPELINE", "RUN_")) for kind in EXPENDABLE
    )


def test_the_schedule_runs_when_automation_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is there, and stopped."""
    assert build_purge_schedule().default_status is dg.DefaultScheduleStatus.STOPPED
    monkeypatch.setenv("STEAM_ASSETS_AUTOMATION", "1")
    assert build_purge_schedule().default_status is dg.DefaultScheduleStatus.RUNNING


def test_the_job_purges_and_says_what_went(instance: dg.DagsterInstance, dagster_conn: connection) -> None:
    """As the schedule runs it; its own run is in progress, and stays."""
    old = instance.create_run_for_job(build_purge_job(), status=dg.DagsterRunStatus.SUCCESS)
    make_old(dagster_conn, [old.run_id])
    result = build_purge_job().execute_in_process(instance=instance)
    assert result.success
    assert run_ids(instance) == {result.run_id}
    (output,) = [event for event in result.all_events if event.event_type is DagsterEventType.STEP_OUTPUT]
    assert output.step_output_data.metadata["runs_deleted"].value == 1
    assert result.job_def.name == PURGE_JOB


def test_the_verb_asks_and_says_what_it_does(
    steam_assets: Callable[..., Ended], instance: dg.DagsterInstance, dagster_conn: connection
) -> None:
    """--dry-run says it, a no deletes nothing, nobody to ask is exit 2, and --yes does it."""
    run = instance.create_run_for_job(build_purge_job(), status=dg.DagsterRunStatus.SUCCESS)
    make_old(dagster_conn, [run.run_id])
    would = steam_assets("purge", "--dry-run", "--json")
    assert (would.code, json.loads(would.out)["runs_deleted"]) == (0, 1)
    assert "Older than 30 days: 1 runs, 0 events" in steam_assets("purge", "--dry-run").out
    unasked = steam_assets("purge")
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert steam_assets("purge", typed="n\n").code == 1
    assert run_ids(instance) == {run.run_id}

    assert steam_assets("purge", "--older-than", "50", "--yes").code == 0
    assert run_ids(instance) == {run.run_id}
    done = steam_assets("purge", typed="y\n")
    assert (done.code, "Deleted: 1 runs" in done.out) == (0, True)
    assert run_ids(instance) == set()
