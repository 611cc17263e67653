"""Dagster's own daemons in this process, by a clock of ours, over a code location of one column; no run is launched."""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, nullcontext
from datetime import UTC, datetime
from itertools import count
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.api import execute_run
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.code_location import InProcessCodeLocation
from dagster._core.remote_representation.handle import RepositoryHandle
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._utils.interrupts import capture_interrupts
from dagster_shared.error import SerializableErrorInfo
from psycopg2 import sql

from steam_assets.columns import TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import vector_key
from steam_assets.defs.partitions import current_name, loaded_cuts, partitions_name, partitions_of
from steam_assets.id_range import IdRange
from steam_assets_tests.hash_recipes import RecipeGpu
from steam_assets_tests.rows import NOTES, NUMBERED

logger = logging.getLogger(__name__)

ACTIVE = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
BEGUN = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
KEPT = ("alembic_version", "secondary_indexes", "instance_info")
"""What an instance's tables say about themselves."""


class Clock:
    """The time of every daemon, sensor and run here: the machine's, put forward by so many seconds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def time(self) -> float:
        """Seconds of the epoch."""
        return time.time() + self.ahead_s

    def sleep(self, seconds: float) -> None:
        """Time passes, and nobody waits."""
        self.ahead_s += seconds

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Let Dagster and our sensors look at this clock; processes that are forked from here do too."""
        patch.setattr("dagster._time._mockable_get_current_timestamp", self.time)
        patch.setattr("dagster._time._mockable_get_current_datetime", lambda: datetime.fromtimestamp(self.time(), UTC))
        patch.setattr("steam_assets.defs.automation.time", self)
        patch.setattr("steam_assets.defs.lost_runs.time", self)


@dg.definitions
def numbered_definitions() -> dg.Definitions:
    """What a code location of the column with a bigint key loads."""
    return build_definitions([NUMBERED], RecipeGpu(device="cpu"))


@dg.definitions
def notes_definitions() -> dg.Definitions:
    """What a code location of the column with a text key loads."""
    return build_definitions([NOTES], RecipeGpu(device="cpu"))


class OneLocation(WorkspaceLoadTarget):
    """A workspace whose only code location is loaded in this process."""

    def __init__(self, column: TextColumn) -> None:
        self._column = column

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        """The definitions of the column above."""
        target = LoadableTargetOrigin(module_name=__name__, attribute=f"{self._column.table}_definitions")
        return [InProcessCodeLocationOrigin(target, location_name="steam_assets")]


class Daemons:
    """The daemons of an instance, and what a person at the web UI asks of the same instance."""

    def __init__(self, column: TextColumn, clock: Clock) -> None:
        self.column, self.clock = column, clock
        self._open, self._numbers = ExitStack(), count(1)
        self.start()

    def start(self) -> None:
        """Open the instance, and load the definitions anew."""
        loaded_cuts.cache_clear()
        self.instance = self._open.enter_context(dg.DagsterInstance.get())
        self._workspace = self._open.enter_context(WorkspaceProcessContext(self.instance, OneLocation(self.column)))
        (location,) = self._workspace.create_request_context().code_locations
        assert isinstance(location, InProcessCodeLocation)
        (self.repository,) = location._loaded_repositories.definitions_by_name.values()

    def stop(self) -> None:
        """End, as their process does."""
        self._open.close()

    def forget(self) -> None:
        """Make the instance one in which nothing has happened."""
        with closing(psycopg2.connect(os.environ["STEAM_ASSETS_DAGSTER_URL"])) as conn, conn, conn.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = [sql.Identifier(name) for (name,) in cursor.fetchall() if name not in KEPT]
            cursor.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
        if current_name(self.instance, self.column) != partitions_name(self.column):
            self.stop()
            self.start()

    # What they do.

    def look(self) -> None:
        """One iteration of each daemon, over what is due by now; fails when one of them does."""
        with pytest.MonkeyPatch.context() as patch:
            # Half of a tick was the time to open an instance of its own.
            patch.setattr(dg.DagsterInstance, "from_ref", lambda _: nullcontext(self.instance))
            self._look()

    def look_in_pair(self, sensor: str) -> None:
        """Two daemons evaluate the same tick of a sensor: the second before the first asks for what it has found."""
        states = self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if not states:  # of a sensor that has never ticked, Dagster lets one of two daemons fail
            self.look()
            return
        evaluate = InProcessCodeLocation.get_sensor_execution_data

        def and_another_does_too(
            location: InProcessCodeLocation,
            instance: dg.DagsterInstance,
            repository: RepositoryHandle,
            name: str,
            *state: Any,
        ) -> SensorExecutionData:
            found = evaluate(location, instance, repository, name, *state)
            if name.endswith(sensor):
                with pytest.MonkeyPatch.context() as alone:
                    alone.setattr(InProcessCodeLocation, "get_sensor_execution_data", evaluate)
                    for before in states:
                        self.instance.update_instigator_state(before)
                    self._look()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InProcessCodeLocation, "get_sensor_execution_data", and_another_does_too)
            self.look()

    def _look(self) -> None:
        for iteration in (
            execute_sensor_iteration(self._workspace, logger, None, None),
            execute_backfill_iteration(self._workspace, logger),
            execute_run_monitoring_iteration(self._workspace, logger),
        ):
            for error in iteration:
                assert not isinstance(error, SerializableErrorInfo), str(error)

    def launch(self, run_ids: Iterable[str], instance: dg.DagsterInstance) -> None:
        """Be the process of queued runs, one after the other."""
        for run_id in run_ids:
            job_name = instance.get_runs(dg.RunsFilter(run_ids=[run_id]))[0].job_name
            starting = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, job_name)
            with capture_interrupts():  # as Dagster's own process of a run does
                instance.report_dagster_event(starting, run_id)
                (run,) = instance.get_runs(dg.RunsFilter(run_ids=[run_id]))
                execute_run(InMemoryJob(self.repository.get_job(job_name)), run, instance)

    # What there is.

    def queued(self) -> list[dg.DagsterRun]:
        """Runs that wait to be launched, the oldest first."""
        return list(reversed(self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))))

    def unfinished(self) -> list[dg.DagsterRun]:
        """Runs that have not ended."""
        return list(self.instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)))

    def backfills(self) -> list[PartitionBackfill]:
        """Backfills that have not ended."""
        return list(self.instance.get_backfills(BulkActionsFilter(statuses=ACTIVE)))

    def are_idle(self) -> bool:
        """Whether every run and every backfill has ended."""
        return not (self.unfinished() or self.backfills())

    def ranges(self) -> list[IdRange]:
        """The ranges of the definitions that are loaded, in the order in which they were registered."""
        keys = self.instance.get_dynamic_partitions(partitions_name(self.column))
        return [IdRange.from_key(key, self.column.id_type) for key in keys]

    # What the web UI's buttons do.

    def backfill(self, id_ranges: Sequence[IdRange]) -> None:
        """Ask for a backfill of these ranges."""
        keys = partitions_of(self.column).subset_with_partition_keys([id_range.key for id_range in id_ranges])
        subset = AssetGraphSubset({vector_key(self.column): keys})  # type: ignore[call-arg]  # hidden by a decorator
        self.instance.add_backfill(
            PartitionBackfill.from_asset_graph_subset(
                backfill_id=f"by hand {next(self._numbers)}",
                backfill_timestamp=self.clock.time(),
                tags={},
                dynamic_partitions_store=self.instance,
                asset_graph_subset=subset,
                title=None,
                description=None,
                run_config=None,
            )
        )

    def cancel_backfill(self, backfill: PartitionBackfill) -> None:
        """Cancel a backfill."""
        canceling = backfill.with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call]
        self.instance.update_backfill(canceling)

    def cancel_queued(self, run: dg.DagsterRun) -> None:
        """Terminate a run that waits in the queue."""
        self.instance.run_coordinator.cancel_run(run.run_id)

    def terminate(self, run_ids: Iterable[str]) -> None:
        """Terminate runs that have begun; their process gets its signal next."""
        for run in self.instance.get_runs(dg.RunsFilter(run_ids=list(run_ids), statuses=BEGUN)) if run_ids else ():
            self.instance.report_run_canceling(run)
