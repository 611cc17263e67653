"""What Dagster costs around the work: a backfill of eight ranges, a new row on its way to its vector, 500 ranges.

`python -m steam_assets_tests.benchmarks.operations --json operations.json`

All of it through `steam-assets up`: its web server, its daemon, a process for each run, MiniLM on the CPU.
"""

import argparse
import os
import random
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.defs.resources import GpuResource
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.pipeline import fill_range
from steam_assets.settings import make_home
from steam_assets.store.ranges import cut_ranges
from steam_assets.store.session import RunSession
from steam_assets.stream import open_stream
from steam_assets_tests.benchmarks.corpus import REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.platform import REVIEWS_SHARE, Platform, platform
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.web_api import wait_for, web_ui

if TYPE_CHECKING:
    import dagster as dg

MODULE = "steam_assets_tests.benchmarks.operations"
RANGES = 8
ROWS_PER_RANGE = 1_000
RANGES_PER_RUN = 4
NEW_ROWS = 9
MANY_RANGES = 500
LIMIT_S = 900.0
MOST_OVERHEAD = 1.3
MOST_NEW_ROW_S = 30.0
MOST_PAGE_S = 2.0
MOST_REGISTERING_S = 5.0
ASSET = [APPLICATIONS.table, APPLICATIONS.vector]
PAGES = 5
SETTLED_S = 20.0
"""A sensor's first ticks after the start come with imports."""

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class OperationRow:
    """Seconds of one thing; their median where it was measured several times, which ``all_seconds`` holds."""

    name: str
    seconds: float
    all_seconds: Sequence[float] = ()


def pure_seconds(texts: Texts, rows: int) -> float:
    """Seconds to encode and write the ranges in this process, the model loaded, without Dagster."""
    with platform(texts, rows) as scene, closing(scene.connect()) as conn:
        ranges = cut_ranges(conn, APPLICATIONS)
        conn.rollback()
        gpu = GpuResource(device="cpu")
        stream = open_stream(APPLICATIONS, ranges, gpu.encoder, scene.connect)
        started = time.perf_counter()
        with RunSession(scene.connect, "pure") as session:
            for id_range in ranges:
                fill_range(session, stream, id_range, gpu.monitor(stream.encoder, _ignore), _ignore)
        return time.perf_counter() - started


def backfill_rows(texts: Texts, rows: int) -> list[OperationRow]:
    """A backfill of every range with rows, asked for as the web UI does, and where its time went."""
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.partitions import register_ranges

    with platform(texts, rows) as scene, open_instance() as instance:
        with closing(scene.connect()) as conn:
            keys = [id_range.key for id_range in register_ranges(instance, conn, APPLICATIONS)[:RANGES]]
        with web_ui(make_home("logs") / "benchmark.log") as ui:
            launched = time.time()
            backfill = ui.launch_backfill(ASSET, keys)
            runs: list[dg.RunRecord] = []

            def has_ended() -> bool:
                runs[:] = runs_of(instance, backfill)
                return bool(filled_ranges(scene) == len(keys) and runs and all(run.end_time for run in runs))

            wait_for(has_ended, LIMIT_S, "the backfill has filled its ranges")
            return timeline(instance, scene, runs, launched)


def runs_of(instance: "dg.DagsterInstance", backfill: str) -> "list[dg.RunRecord]":
    """The backfill's runs, the first one first."""
    import dagster as dg

    found = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    return sorted(found, key=lambda run: run.create_timestamp)


def timeline(
    instance: "dg.DagsterInstance", scene: Platform, runs: "Sequence[dg.RunRecord]", launched: float
) -> list[OperationRow]:
    """What a backfill's seconds were spent on, one run after the other."""
    import dagster as dg

    first = runs[0].create_timestamp.timestamp()
    queue = start = work = end = 0.0
    free = first
    for run in runs:
        assert run.end_time is not None
        created = run.create_timestamp.timestamp()
        starting = instance.get_records_for_run(run.dagster_run.run_id, of_type=dg.DagsterEventType.PIPELINE_STARTING)
        process = starting.records[0].timestamp
        begun, finished = attempts_of(scene, run.dagster_run.run_id)
        queue += process - max(free, created)
        start += begun - process
        work += finished - begun
        end += run.end_time - finished
        free = run.end_time
    return [
        OperationRow("backfill: launched to its first run in the queue (daemon)", first - launched),
        OperationRow(f"backfill: {len(runs)} runs in the queue, with the pool free (daemon)", queue),
        OperationRow(f"backfill: {len(runs)} processes, from launch to their first row", start),
        OperationRow("backfill: ranges, from first read to last commit", work),
        OperationRow("backfill: checks and ends of runs", end),
        OperationRow("backfill: launched to the end of its last run", free - launched),
    ]


def attempts_of(scene: Platform, dagster_run_id: str) -> tuple[float, float]:
    """When a run began its first range and finished its last one."""
    with closing(scene.connect()) as conn, conn.cursor() as cursor:
        cursor.execute(
            """
            SELECT extract(epoch FROM min(started_at))::float8, extract(epoch FROM max(finished_at))::float8
            FROM embedding_run_ranges
            WHERE dagster_run_id = %s
            """,
            (dagster_run_id,),
        )
        begun, finished = cursor.fetchone() or (0.0, 0.0)
    return float(begun), float(finished)


def filled_ranges(scene: Platform) -> int:
    """How many ranges of applications have a finished attempt."""
    with closing(scene.connect()) as conn, conn.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT range_key) FROM embedding_run_ranges WHERE status = 'done' AND table_name = %s",
            (APPLICATIONS.qualified_table,),
        )
        (found,) = cursor.fetchone() or (0,)
    return int(found)


def new_row_seconds(texts: Texts, times: int) -> list[float]:
    """From a new row's commit to its vector, the daemon and its sensors running, at any moment of their intervals."""
    from steam_assets.embed import embed_columns

    dice = random.Random(0)  # noqa: S311  (no secret)
    found = []
    os.environ["STEAM_ASSETS_AUTOMATION"] = "1"
    with platform(texts, 100) as scene:
        embed_columns(COLUMNS, scene.connect, GpuResource(device="cpu"), None, _ignore)
        with web_ui(make_home("logs") / "benchmark.log"), closing(scene.connect()) as conn, conn.cursor() as cursor:
            conn.autocommit = True
            time.sleep(SETTLED_S)
            for number in range(times):
                time.sleep(dice.uniform(0, 10))
                key = f"30000000{number}"
                cursor.execute(
                    "INSERT INTO reviews (recommendationid, appid, review_text) VALUES (%s, 10, %s)",
                    (key, f"new {key}"),
                )
                started = time.monotonic()

                def has_vector(key: str = key) -> bool:
                    cursor.execute(
                        "SELECT FROM reviews WHERE recommendationid = %s AND review_embedding IS NOT NULL", (key,)
                    )
                    return cursor.rowcount == 1

                wait_for(has_vector, LIMIT_S, f"review {key} has its vector")
                found.append(time.monotonic() - started)
                print(f"new row {number + 1}: {found[-1]:.1f} s", file=sys.stderr, flush=True)
    return found


def many_ranges_rows(texts: Texts) -> list[OperationRow]:
    """500 ranges: registering them, and their asset's page when all of them are filled and checked."""
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.partitions import partitions_name

    with platform(texts, 4 * MANY_RANGES) as scene:
        with open_instance() as instance, closing(scene.connect()) as conn:
            started = time.perf_counter()
            ranges = cut_ranges(conn, APPLICATIONS, MANY_RANGES)
            instance.add_dynamic_partitions(partitions_name(APPLICATIONS), [id_range.key for id_range in ranges])
            registering = time.perf_counter() - started
        scene.embed()
        with web_ui(make_home("logs") / "benchmark.log") as ui:
            pages = []
            for _ in range(PAGES):
                started = time.perf_counter()
                page = ui.asset_page(ASSET)
                pages.append(time.perf_counter() - started)
                if len(page["partitionKeys"]) != len(ranges):
                    raise RuntimeError(f"the page shows {len(page['partitionKeys'])} of {len(ranges)} ranges")
    return [
        OperationRow(f"{len(ranges)} ranges: cutting and registering", registering),
        OperationRow(f"{len(ranges)} ranges: the asset's page, first time", pages[0]),
        OperationRow(f"{len(ranges)} ranges: the asset's page", median(pages), pages),
    ]


def _ignore(_line: str) -> None:
    """Nobody reads it."""


def targets(rows: Sequence[OperationRow], pure: float | None) -> list[Target]:
    """What was promised."""
    found = {row.name: row.seconds for row in rows}

    def seconds(part: str) -> float | None:
        return next((value for name, value in found.items() if part in name), None)

    wall, daemon = seconds("end of its last run"), seconds("(daemon)")
    ratio = (wall - daemon) / pure if wall is not None and daemon is not None and pure else None
    where = "2 cores, MiniLM"
    registering, page, new_row = seconds("registering"), seconds("page, first"), seconds("new row")
    return [
        compared(
            where,
            "applications",
            f"backfill beside the daemon's loop, of pure work <= {MOST_OVERHEAD:g}x",
            ratio,
            most=MOST_OVERHEAD,
        ),
        compared(where, "reviews", f"a new row's vector, median s <= {MOST_NEW_ROW_S:g}", new_row, most=MOST_NEW_ROW_S),
        compared(
            where,
            "applications",
            f"registering {MANY_RANGES} ranges, s <= {MOST_REGISTERING_S:g}",
            registering,
            most=MOST_REGISTERING_S,
        ),
        compared(where, "applications", f"page of {MANY_RANGES} ranges, s <= {MOST_PAGE_S:g}", page, most=MOST_PAGE_S),
    ]


PARTS = ("backfill", "new-rows", "many-ranges")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts, print the table and what came of the targets, write the JSON."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=ROWS_PER_RANGE, help="rows of each of the eight ranges")
    parser.add_argument("--new-rows", type=int, default=NEW_ROWS)
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)

    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    corpora = read_corpora((REVIEWS.table, APPLICATIONS.table), data=options.data)
    texts = {corpus.name: corpus.stored for corpus in corpora}
    find_model(DEMO_MODEL)  # its weights' digest is computed once in a process
    os.environ |= {"STEAM_ASSETS_DEVICE": "cpu", "STEAM_ASSETS_RANGES_PER_RUN": str(RANGES_PER_RUN)}
    rows: list[OperationRow] = []
    pure = None
    if "backfill" in options.only:
        wanted = round(RANGES * options.rows / (1 - REVIEWS_SHARE))
        pure = pure_seconds(texts, wanted)
        rows += [OperationRow("pure encoding and writing", pure), *backfill_rows(texts, wanted)]
    if "new-rows" in options.only:
        waits = new_row_seconds(texts, options.new_rows)
        rows.append(OperationRow("new row to its vector", median(waits), waits))
    if "many-ranges" in options.only:
        rows += many_ranges_rows(texts)
    print()
    print(markdown_table(("", "seconds"), [(row.name, f"{row.seconds:.2f}") for row in rows]))
    print(f"\ntexts: {', '.join(f'{corpus.name} ({corpus.source})' for corpus in corpora)}\n")
    print(targets_table(targets(rows, pure)))
    if options.json is not None:
        sources = {corpus.name: corpus.source for corpus in corpora}
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", rows, {"texts": sources})


if __name__ == "__main__":
    main()
