"""Runs whose process has died are buried, whoever killed it; the living are left alone."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs import lost_runs
from steam_assets.defs.assets import vector_key
from steam_assets.defs.evaluations import LEAST_MRR
from steam_assets.defs.jobs import EVERYTHING_STEP, column_job_name
from steam_assets.defs.lost_runs import build_lost_runs_sensor, fail_lost_runs, steps
from steam_assets.defs.partitions import partitions_of, registered_ranges
from steam_assets.defs.resources import DatabaseResource
from steam_assets.rules import RULES
from steam_assets.store.database import connect, find_database
from steam_assets.store.locks import living_run, run_lock
from steam_assets.store.runs import start_range
from steam_assets_tests.dagster_home import embedded_rows
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import add_reviews, execute, fetch
from steam_assets_tests.test_embed import SLOW_TABLE
from steam_assets_tests.web_api import LOCATION, WebUi, web_ui

STARTED, CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
SLEEP = "steam_assets.defs.lost_runs.time.sleep"
RANGES = "SELECT status FROM embedding_run_ranges ORDER BY range_id"


def connect_here() -> connection:
    """A connection to the test's database."""
    return connect(find_database())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead are buried without waiting for them to come back, and a run has no time to start."""
    monkeypatch.setattr(lost_runs, "SILENT_S", 0.0)
    monkeypatch.setattr(lost_runs, "STARTING_S", -1.0)


def begin(
    instance: dg.DagsterInstance, job: dg.JobDefinition, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> str:
    """A run that Dagster takes for one that is at work; its id."""
    return instance.create_run_for_job(job, status=status).run_id


def begin_range(instance: dg.DagsterInstance, definitions: dg.Definitions, conn: connection) -> str:
    """Such a run with a range that it has begun."""
    run_id = begin(instance, definitions.resolve_job_def(column_job_name(APPLICATIONS)))
    with conn:
        start_range(conn, APPLICATIONS, 1, "~:000000000040", run_id, "cpu", "fp32")
    return run_id


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
    assert fetch(tables, RANGES) == [("lost",)]
    assert fail_lost_runs(instance, connect_here) == []


def test_a_living_run_is_left_alone(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Whoever holds its lock is at work, in whatever process."""
    run_id = begin_range(instance, definitions, tables)
    with closing(connect_here()) as worker:
        run_lock(worker, run_id)
        assert fail_lost_runs(instance, connect_here) == []
    assert status_of(instance, run_id) is STARTED
    assert fetch(tables, RANGES) == [("running",)]


@pytest.mark.parametrize("filling", [True, False], ids=["with a range", "between two steps"])
def test_a_run_that_has_its_lock_again_a_moment_later_lives(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    tables: connection,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    filling: bool,
) -> None:
    """Each step takes it anew, and a session whose connection was lost takes it again on another one."""
    job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    run_id = begin_range(instance, definitions, tables) if filling else begin(instance, job)
    with ExitStack() as again:
        monkeypatch.setattr(SLEEP, lambda _: again.enter_context(living_run(connect_here, run_id)))
        assert fail_lost_runs(instance, connect_here) == []
        assert status_of(instance, run_id) is STARTED

    monkeypatch.setattr(SLEEP, lambda _: None)
    assert fail_lost_runs(instance, connect_here) == [run_id]
    assert status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_has_just_started_is_given_time(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    """Between a run's start and its first step there is no lock."""
    young = begin(instance, definitions.resolve_job_def(column_job_name(APPLICATIONS)))
    assert fail_lost_runs(instance, connect_here) == []
    assert status_of(instance, young) is STARTED


@pytest.mark.usefixtures("impatient")
def test_a_clock_that_was_put_back_hides_no_dead_run(
    instance: dg.DagsterInstance, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that seems to start in an hour is not waited for until then."""
    monkeypatch.setattr(lost_runs, "STARTING_S", 30.0)
    now = time.time()
    monkeypatch.setattr("steam_assets.defs.lost_runs.time.time", lambda: now - 3600)
    run_id = begin(instance, definitions.resolve_job_def(column_job_name(APPLICATIONS)))
    assert fail_lost_runs(instance, connect_here) == [run_id]


@pytest.mark.usefixtures("impatient")
def test_a_run_that_died_while_it_was_being_terminated_is_canceled(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """Somebody wanted its end, so it has not failed."""
    run_id = begin(instance, definitions.resolve_job_def(column_job_name(APPLICATIONS)), CANCELING)
    assert fail_lost_runs(instance, connect_here) == [run_id]
    assert status_of(instance, run_id) is dg.DagsterRunStatus.CANCELED


@pytest.mark.usefixtures("impatient")
def test_dead_runs_of_the_asset_s_page_are_found_and_those_with_anybody_else_s_steps_are_not_ours(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """What the UI launches is in no job of ours; a step of a user's own takes no lock, so nobody can say it is dead."""

    @dg.asset(deps=[vector_key(APPLICATIONS)], partitions_def=partitions_of(APPLICATIONS))
    def downstream() -> None:
        """What a user would build on the vectors."""

    extended = dg.Definitions.merge(definitions, dg.Definitions(assets=[downstream]))
    every_asset = extended.resolve_implicit_global_asset_job_def()
    ours = begin(instance, every_asset.get_subset(asset_selection={vector_key(APPLICATIONS)}))
    mixed = begin(
        instance, every_asset.get_subset(asset_selection={vector_key(APPLICATIONS), dg.AssetKey("downstream")})
    )

    assert fail_lost_runs(instance, connect_here) == [ours]
    assert status_of(instance, mixed) is STARTED


def test_the_steps_whose_lock_is_looked_for_are_those_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step under another name would never be found dead, and neither would a run that has it."""
    monkeypatch.setenv(LEAST_MRR, "0.5")
    columns = (*COLUMNS, replace(APPLICATIONS, vector="rival_embedding", run="rival_run_id"))
    jobs = build_definitions(columns).resolve_all_job_defs()
    found = {node.name for job in jobs for node in job.nodes} - {"purge_old"}
    assert found <= {EVERYTHING_STEP, *(step for column in columns for step in steps(column))}
    assert {EVERYTHING_STEP, *steps(APPLICATIONS)} <= found


@pytest.mark.usefixtures("impatient")
def test_the_sensor_buries_the_dead_and_says_so(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """It is on by default, and has nothing to say where everybody lives."""
    sensor = build_lost_runs_sensor(COLUMNS)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING

    def tick() -> str | None:
        context = dg.build_sensor_context(instance, resources={"database": DatabaseResource()})
        return sensor.evaluate_tick(context).skip_message

    assert tick() == "Every run that is at work is alive."
    run_id = begin_range(instance, definitions, tables)
    assert tick() == f"Had died: {run_id}."
    assert status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_before_init_there_is_nobody_to_bury(
    instance: dg.DagsterInstance, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `up` on an empty database has a sensor that ticks, too."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", empty_database_url)
    assert fail_lost_runs(instance, connect_here) == []


LAUNCH = """
    mutation Launch($params: ExecutionParams!) {
      launchRun(executionParams: $params) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
        ... on InvalidSubsetError { message }
        ... on RunConfigValidationInvalid { errors { message } }
      }
    }
"""


RE_EXECUTE = """
    mutation ReExecute($run: String!) {
      launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
      }
    }
"""
LONG_TEXT = "The farm was cozy, my sister planted carrots, and the trains ran on time under the old mountain. " * 20
TERMINATED_WITHIN_S = 3.0


def launch_ranges(ui: WebUi, column: TextColumn, first: str, last: str) -> str:
    """Materialize neighbouring ranges in one run, as the dialog of the asset's page does; the run's id."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    params = {
        "selector": {**LOCATION, "jobName": "__ASSET_JOB", "assetSelection": [{"path": list(vector_key(column).path)}]},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    answer = ui.ask(LAUNCH, params=params)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


@pytest.fixture
def ui(dagster_url: str, tables: connection, home: Path) -> Iterator[WebUi]:
    """`steam-assets up` on the test's database, whose rows take a tenth of a second each to write."""
    execute(tables, SLOW_TABLE)
    with web_ui(home / "up.out") as opened:
        yield opened


def worker_of(instance: dg.DagsterInstance, run_id: str) -> psutil.Process:
    """The process of a launched run, once it is at work."""

    def pids() -> list[int]:
        entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
        return [pid for entry in entries if (pid := entry.get_dagster_event().pid) is not None]

    wait_until(lambda: bool(pids()), "the run is at work", 120)
    return psutil.Process(pids()[0])


# As the page of a check asks it.
CHECKS = """
    query Checks($asset: AssetKeyInput!) {
      assetNodeOrError(assetKey: $asset) {
        ... on AssetNode {
          assetChecksOrError {
            ... on AssetChecks {
              checks {
                name
                partitionStatuses {
                  ... on AssetCheckDefaultPartitionStatuses { succeededPartitions executionFailedPartitions }
                }
              }
            }
          }
        }
      }
    }
"""


@pytest.mark.slow
@pytest.mark.parametrize("code_server_too", [False, True], ids=["its process", "its process and the code server"])
def test_a_killed_run_is_buried_and_what_it_had_finished_stays_green(
    ui: WebUi, instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, code_server_too: bool
) -> None:
    """kill -9 in the third range of eight: the run fails, its range is lost, and a re-run gets its slot and goes on.

    A code server sees the death of a run's process at once; when both are gone, the sensor sees it within two ticks.
    """
    keys = [id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:8]]
    run_id = launch_ranges(ui, APPLICATIONS, keys[0], keys[-1])
    worker = worker_of(instance, run_id)
    wait_until(lambda: len(fetch(tables, RANGES)) == 3, "the third range is begun", 120)
    for victim in [*worker.parents()[:code_server_too], worker]:
        victim.kill()
    wait_until(lambda: status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE, "the run is buried", 120)
    wait_until(lambda: fetch(tables, RANGES)[-1] == ("lost",), "its range is lost", 120)

    assert fetch(tables, RANGES) == [("done",), ("done",), ("lost",)]
    asset = list(vector_key(APPLICATIONS).path)
    shown = ui.asset_page(asset)["assetPartitionStatuses"]
    assert (set(shown["materializedPartitions"]), set(shown["failedPartitions"])) == (set(keys[:2]), set(keys[2:]))
    checks = ui.ask(CHECKS, asset={"path": asset})["assetNodeOrError"]["assetChecksOrError"]["checks"]
    assert len(checks) == len(RULES)
    for check in checks:
        assert set(check["partitionStatuses"]["succeededPartitions"]) == set(keys[:2])
        assert set(check["partitionStatuses"]["executionFailedPartitions"]) == set(keys[2:])

    again = launch_ranges(ui, APPLICATIONS, keys[0], keys[-1])
    wait_until(lambda: status_of(instance, again) is dg.DagsterRunStatus.SUCCESS, "the re-run has done the rest", 120)
    assert embedded_rows(tables, APPLICATIONS) == 24
    shown = ui.asset_page(asset)["assetPartitionStatuses"]
    assert set(shown["materializedPartitions"]) == set(keys)


@pytest.mark.slow
def test_a_run_outlives_its_code_server(
    ui: WebUi, instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Its process is at work and holds its lock, so nobody takes it for dead."""
    keys = [id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:8]]
    run_id = launch_ranges(ui, APPLICATIONS, keys[0], keys[-1])
    worker_of(instance, run_id).parents()[0].kill()
    wait_until(lambda: status_of(instance, run_id) in FINISHED_STATUSES, "the run has ended", 120)
    assert status_of(instance, run_id) is dg.DagsterRunStatus.SUCCESS
    assert set(fetch(tables, RANGES)) == {("done",)}


@pytest.mark.slow
def test_terminate_ends_a_run_within_three_seconds_and_a_re_execution_does_the_rest(
    dagster_url: str, instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, home: Path
) -> None:
    """Pressed while MiniLM reads long texts: within one pack the range is aborted and the run canceled, for good."""
    # So many that some are left when the button is pressed, however quick the machine.
    add_reviews(tables, {f"long{n:05}": LONG_TEXT + str(n) for n in range(400)})
    last = registered_ranges(instance, REVIEWS)[-1].key
    with web_ui(home / "up.out") as ui:
        run_id = launch_ranges(ui, REVIEWS, last, last)
        worker = worker_of(instance, run_id)
        wait_until(lambda: embedded_rows(tables, REVIEWS) > 0, "something is committed", 120)
        pressed = time.monotonic()
        ui.terminate(run_id)
        wait_until(lambda: status_of(instance, run_id) is dg.DagsterRunStatus.CANCELED, "the run is canceled")
        took_s = time.monotonic() - pressed
        wait_until(lambda: not worker.is_running(), "its process has ended")

        committed = embedded_rows(tables, REVIEWS)
        assert fetch(tables, "SELECT status, rows_written FROM embedding_run_ranges") == [("aborted", committed)]
        told = {entry.get_dagster_event().event_type for entry in instance.all_logs(run_id) if entry.is_dagster_event}
        assert not told & {dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED}
        again = str(ui.ask(RE_EXECUTE, run=run_id)["launchRunReexecution"]["run"]["runId"])
        wait_until(lambda: status_of(instance, again) is dg.DagsterRunStatus.SUCCESS, "the rest is done", 240)
    assert took_s < TERMINATED_WITHIN_S
    first, second = fetch(tables, "SELECT status, rows_written FROM embedding_run_ranges ORDER BY range_id")
    assert (first, second) == (("aborted", committed), ("done", embedded_rows(tables, REVIEWS) - committed))
