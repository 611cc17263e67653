"""One, two and four devices of one host: as many runs at once, each with a device and ranges of its own.

`python -m steam_assets_tests.benchmarks.scaling --json scaling.json`

The runs come from Dagster's queue and are processes of Dagster's launcher. The devices are CPU workers whose encoder
waits as one waits for a GPU, so that four fit on a small machine: what is measured is what the runs cost each other.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from steam_assets.columns import REVIEWS
from steam_assets.device_lease import device_slots
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.id_range import IdRange
from steam_assets.store.ranges import cut_ranges
from steam_assets_tests.benchmarks import scaling_location
from steam_assets_tests.benchmarks.corpus import REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.platform import REVIEWS_SHARE, Platform, platform
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.web_api import LOCATION, wait_for

if TYPE_CHECKING:
    from dagster._core.workspace.context import WorkspaceProcessContext

MODULE = "steam_assets_tests.benchmarks.scaling"
DEVICES = (1, 2, 4)
ROWS_PER_S = 500.0
SECONDS = 20.0
"""Of each device's work: runs that start together begin some seconds apart, a process each on the same cores."""
RANGES_PER_RUN = 4
LIMIT_S = 600.0
LEAST_SHARE = 0.9
HEADER = ("", "encoder rows/s", "rows", "launch to first row s", "all at work s", "rows/s", "x", "runs' rows/s", "x")

LAUNCH = """
    mutation Launch($params: ExecutionParams!) {
      launchRun(executionParams: $params) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
      }
    }
"""
ATTEMPTS = """
    SELECT range_key, status, dagster_run_id, device, rows_written,
           extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8
    FROM embedding_run_ranges
    ORDER BY range_id
"""


@dataclass(frozen=True)
class Attempt:
    """An attempt at a range, as the product recorded it."""

    range_key: str
    status: str
    run_id: str
    device: str
    rows: int
    started: float
    finished: float


@dataclass(frozen=True)
class ScalingRow:
    """So many devices at once, a run each.

    ``rows_per_s`` is from the first run's first read to the last run's last commit, though runs that start together do
    not begin together; ``runs_rows_per_s`` is the sum of what each run did between its own.
    """

    name: str
    devices: int
    encoder_rows_per_s: float
    rows: int
    launch_s: float
    all_at_work_s: float
    rows_per_s: float
    ratio_to_one: float
    runs_rows_per_s: float
    runs_ratio_to_one: float


def measure(texts: Mapping[str, Sequence[str]], devices: int, rate: float, rows: int) -> tuple[float, list[Attempt]]:
    """Have each of so many devices fill ``rows`` reviews; when that was asked for, and all attempts.

    Raises unless every range was filled once, and no device had two runs.
    """
    os.environ[scaling_location.RATE] = str(rate)
    with platform(texts, round(devices * rows / REVIEWS_SHARE)) as here:
        os.environ["STEAM_ASSETS_CPU_WORKERS"] = str(devices)
        with workspace() as process:
            shares = cut(here, process, devices)
            launched = time.time()
            runs = [launch(process, share) for share in shares]
            run_queue(process, runs)
        found = attempts(here)
    require_apart(found, devices, [id_range.key for share in shares for id_range in share])
    return launched, found


@contextmanager
def workspace() -> "Iterator[WorkspaceProcessContext]":
    """A code server with scaling_location.py, on the instance of the environment, its pool fit to the devices."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget

    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.pools import fit_pool

    target = ModuleTarget(scaling_location.__name__, None, None, LOCATION["repositoryLocationName"])
    before = psutil.Process().children()
    with open_instance() as instance, WorkspaceProcessContext(instance, target) as process:
        fit_pool(instance, device_slots(EncoderSettings(device="cpu")))
        try:
            yield process
        finally:
            # A code server that finds its database gone neither ends nor is quiet about it.
            for server in set(psutil.Process().children()) - set(before):
                server.kill()
            process._grpc_server_registry.wait_for_processes()


def cut(here: Platform, process: "WorkspaceProcessContext", devices: int) -> list[list[IdRange]]:
    """Neighbouring ranges for each device, registered."""
    from steam_assets.defs.partitions import partitions_name

    with closing(here.connect()) as conn:
        ranges = cut_ranges(conn, REVIEWS, devices * RANGES_PER_RUN)
    process.instance.add_dynamic_partitions(partitions_name(REVIEWS), [id_range.key for id_range in ranges])
    return [ranges[first : first + RANGES_PER_RUN] for first in range(0, len(ranges), RANGES_PER_RUN)]


def launch(process: "WorkspaceProcessContext", share: Sequence[IdRange]) -> str:
    """Ask for a run of these ranges as the web UI does; the id of what is then in the queue."""
    from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
    from dagster_graphql.cli import execute_query

    from steam_assets.defs.jobs import column_job_name

    tags = {ASSET_PARTITION_RANGE_START_TAG: share[0].key, ASSET_PARTITION_RANGE_END_TAG: share[-1].key}
    params = {
        "selector": {**LOCATION, "jobName": column_job_name(REVIEWS)},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    answer = execute_query(process, LAUNCH, {"params": params})["data"]["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(str(answer))
    return str(answer["run"]["runId"])


def run_queue(process: "WorkspaceProcessContext", runs: Sequence[str]) -> None:
    """Do what the daemon does with the queue until these runs have ended."""
    import dagster as dg
    from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

    wanted = dg.RunsFilter(run_ids=list(runs))
    with QueuedRunCoordinatorDaemon(interval_seconds=1) as queue:

        def all_have_ended() -> bool:
            list(queue.run_iteration(process))
            return all(run.is_finished for run in process.instance.get_runs(wanted))

        wait_for(all_have_ended, LIMIT_S, "the runs have ended", poll_s=0.5)
    if failed := [run.run_id for run in process.instance.get_runs(wanted) if not run.is_success]:
        raise RuntimeError(f"runs {failed} did not end well")


def attempts(here: Platform) -> list[Attempt]:
    """What the product recorded."""
    with closing(here.connect()) as conn, conn.cursor() as cursor:
        cursor.execute(ATTEMPTS)
        return [Attempt(*row) for row in cursor.fetchall()]


def require_apart(found: Sequence[Attempt], devices: int, keys: Sequence[str]) -> None:
    """Raise unless each range was filled in one attempt, by a run whose device no other run had."""
    by_device = {(attempt.device, attempt.run_id) for attempt in found}
    filled = sorted(attempt.range_key for attempt in found if attempt.status == "done")
    if filled != sorted(keys) or len(found) != len(keys):
        raise RuntimeError(f"{len(keys)} ranges, and attempts {found}")
    if len(by_device) != devices or len({device for device, _ in by_device}) != devices:
        raise RuntimeError(f"{devices} devices, and runs had {sorted(by_device)}")


def summed_up(devices: int, rate: float, launched: float, found: Sequence[Attempt]) -> ScalingRow:
    """The figures of a turn, with a ratio of one as long as there is no other turn."""
    runs = [[attempt for attempt in found if attempt.run_id == run] for run in {attempt.run_id for attempt in found}]
    begun = [min(attempt.started for attempt in run) for run in runs]
    ended = [max(attempt.finished for attempt in run) for run in runs]
    own = sum(
        sum(attempt.rows for attempt in run) / (end - begin) for run, begin, end in zip(runs, begun, ended, strict=True)
    )
    rows = sum(attempt.rows for attempt in found)
    return ScalingRow(
        name=f"ours, {devices} device{'s' if devices > 1 else ''}",
        devices=devices,
        encoder_rows_per_s=rate,
        rows=rows,
        launch_s=min(begun) - launched,
        all_at_work_s=max(0.0, min(ended) - max(begun)),
        rows_per_s=rows / (max(ended) - min(begun)),
        ratio_to_one=1.0,
        runs_rows_per_s=own,
        runs_ratio_to_one=1.0,
    )


def beside_one(rows: Sequence[ScalingRow]) -> list[ScalingRow]:
    """The rows with their ratios to the first, which is of one device."""
    one = rows[0]
    return [
        replace(
            row,
            ratio_to_one=row.rows_per_s / one.rows_per_s,
            runs_ratio_to_one=row.runs_rows_per_s / one.runs_rows_per_s,
        )
        for row in rows
    ]


def targets(rows: Sequence[ScalingRow]) -> list[Target]:
    """What was promised: a device more is nearly as much more."""
    return [
        compared(
            "2 cores",
            REVIEWS.table,
            f"{row.devices} devices, of one's rows/s >= {LEAST_SHARE * row.devices:g}x",
            row.runs_ratio_to_one,
            least=LEAST_SHARE * row.devices,
        )
        for row in rows[1:]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the turns, print the table and what came of the targets, write the JSON."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES), help="the first is compared with")
    parser.add_argument("--rate", type=float, default=ROWS_PER_S, help="rows a second of each device's encoder")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each device's work")
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)

    machine = describe_machine(None)
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    corpora = read_corpora(("reviews", "applications"), data=options.data)
    texts = {corpus.name: corpus.stored for corpus in corpora}
    find_model(DEMO_MODEL)  # its weights' digest is computed once in a process
    rows = []
    for devices in options.devices:
        turn = measure(texts, devices, options.rate, round(options.rate * options.seconds))
        rows.append(summed_up(devices, options.rate, *turn))
        said = f"{rows[-1].runs_rows_per_s:,.0f} rows/s, all at work for {rows[-1].all_at_work_s:.1f} s"
        print(f"{rows[-1].name}: {said}", file=sys.stderr, flush=True)
    rows = beside_one(rows)
    print()
    print(markdown_table(HEADER, [_cells(row) for row in rows]))
    print(f"\ntexts: {', '.join(f'{corpus.name} ({corpus.source})' for corpus in corpora)}\n")
    print(targets_table(targets(rows)))
    if options.json is not None:
        sources = {corpus.name: corpus.source for corpus in corpora}
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", rows, {"texts": sources})


def _cells(row: ScalingRow) -> list[str]:
    return [
        row.name,
        f"{row.encoder_rows_per_s:,.0f}",
        f"{row.rows:,}",
        f"{row.launch_s:.1f}",
        f"{row.all_at_work_s:.1f}",
        f"{row.rows_per_s:,.0f}",
        f"{row.ratio_to_one:.2f}",
        f"{row.runs_rows_per_s:,.0f}",
        f"{row.runs_ratio_to_one:.2f}",
    ]


if __name__ == "__main__":
    main()
