"""Keeping Dagster's database and this home's logs small: what is old and says nothing of the present goes, weekly.

What may go is decided in store/dagster_history.py; statuses of partitions and checks are the same before and after.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.logs import old_logs
from steam_assets.settings import flag_setting
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.dagster_history import (
    OldRun,
    count_events,
    count_expendable_events,
    delete_expendable_events,
    delete_history,
    old_runs,
    unfinished_runs,
)

KEPT_DAYS = 30
RUNS_AT_ONCE = 50
"""In one transaction: some 10,000 events of 25 ranges each."""
PURGE_JOB = "purge_history"
PURGE_AT = "0 4 * * 0"
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Purged:
    """What went, or would go: whole runs, events of runs that are still needed for what is true now, and files."""

    runs_deleted: int
    runs_thinned: int
    events: int
    log_files: int
    log_bytes: int


def purge(
    instance: dg.DagsterInstance,
    conn: connection,
    older_than_days: float = KEPT_DAYS,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Purged:
    """Delete what is older than so many days and says nothing of the present; runs in progress are never touched.

    ``conn`` is to Dagster's database. ``progress`` is told the runs so far and all of them. An interrupt leaves what
    is done, and the next purge does the rest.
    """
    found = old_runs(conn, older_than_days)
    files = [*old_run_files(instance, unfinished_runs(conn), older_than_days), *old_logs(older_than_days)]
    conn.rollback()
    size = sum(map(size_of, files))
    events = done = 0
    for runs in batches(found):
        events += (count if dry_run else delete)(instance, conn, runs)
        done += len(runs)
        progress(done, len(found))
    if not dry_run:
        for path in files:
            remove(path)
    needed = sum(run.is_needed for run in found)
    return Purged(len(found) - needed, needed, events, len(files), size)


def batches(runs: Sequence[OldRun]) -> Iterator[Sequence[OldRun]]:
    """Some runs at a time."""
    for start in range(0, len(runs), RUNS_AT_ONCE):
        yield runs[start : start + RUNS_AT_ONCE]


def count(instance: dg.DagsterInstance, conn: connection, runs: Sequence[OldRun]) -> int:
    """The events of these runs that ``delete`` would delete."""
    needed, others = divided(runs)
    events = count_events(conn, others) + count_expendable_events(conn, needed)
    conn.rollback()
    return events


def delete(instance: dg.DagsterInstance, conn: connection, runs: Sequence[OldRun]) -> int:
    """Delete runs that are not needed, and the log of those that are; return how many events went."""
    needed, others = divided(runs)
    events = delete_history(conn, others) + delete_expendable_events(conn, needed)
    for run_id in others:
        instance.delete_run(run_id)
    return events


def divided(runs: Sequence[OldRun]) -> tuple[list[str], list[str]]:
    """The ids of those that are needed, and of the others."""
    return [run.run_id for run in runs if run.is_needed], [run.run_id for run in runs if not run.is_needed]


def old_run_files(instance: dg.DagsterInstance, unfinished: set[str], older_than_days: float) -> list[Path]:
    """The directories of ended runs, with what their steps printed, to which nothing was written for so many days."""
    before = time.time() - older_than_days * 86_400
    directory = Path(instance.storage_directory())
    return sorted(
        path
        for path in (directory.iterdir() if directory.is_dir() else ())
        if RUN_ID.fullmatch(path.name) and path.name not in unfinished and newest(path) < before
    )


def newest(directory: Path) -> float:
    """When something in a directory was last written."""
    return max(path.lstat().st_mtime for path in (directory, *directory.rglob("*")))


def size_of(path: Path) -> int:
    """The bytes of a file, or of those of a directory."""
    return sum(part.lstat().st_size for part in (path, *path.rglob("*")) if part.is_file())


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it; one that is gone by now is no error."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class PurgeConfig(dg.Config):
    """What the launchpad offers: what ended longer ago goes."""

    older_than_days: int = KEPT_DAYS


def build_purge_job() -> dg.JobDefinition:
    """`steam-assets purge` as a run of its own."""

    @dg.op(description="Delete old runs, events and logs that say nothing of the present.")
    def purge_old(context: dg.OpExecutionContext, config: PurgeConfig) -> None:
        with closing(connect_dagster()) as conn:
            found = purge(context.instance, conn, config.older_than_days)
        context.add_output_metadata({name: dg.MetadataValue.int(number) for name, number in vars(found).items()})

    @dg.job(name=PURGE_JOB, description="Keep Dagster's database and the logs small.")
    def purge_history() -> None:
        purge_old()

    return purge_history


def build_purge_schedule() -> dg.ScheduleDefinition:
    """Weekly, when automation is on; else a person turns it on in the web UI."""
    return dg.ScheduleDefinition(
        name=PURGE_JOB,
        job=build_purge_job(),
        cron_schedule=PURGE_AT,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if flag_setting("STEAM_ASSETS_AUTOMATION")
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"Sundays: what ended more than {KEPT_DAYS} days ago and says nothing of the present is deleted.",
    )
