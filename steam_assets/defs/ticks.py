"""What a tick of a column's sensors does: look, and ask for runs over as few ranges as possible. No sensor is here."""

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
)
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import ranges_per_run
from steam_assets.defs.cursors import ChangedTextsCursor, NewRowsCursor, written
from steam_assets.defs.in_progress import CAUSE_TAG, failures, in_progress, is_of_a_person, unanswered, unfinished_runs
from steam_assets.defs.partitions import register_ranges
from steam_assets.defs.recipes import backfill_once
from steam_assets.defs.runs import stretches
from steam_assets.id_range import IdRange
from steam_assets.store.changes import (
    count_missing,
    filled_before,
    ranges_of_other_runs,
    scan_for_stale,
)
from steam_assets.targets import target_run

MOST_RANGES = 100
"""One tick asks for so many ranges at most; the next goes on."""
LONGEST_WAIT_S = 30.0
"""Rows that keep coming in are filled after so long, though more of them are on their way."""
MANY_ROWS = 10_000
"""With so many rows to fill nobody waits for more."""
SHARE_OF_TIME = 0.05
"""Looking for new rows takes no more than this share of the server's time: without the index a look reads the table."""
SHORTEST_REST_S = 5.0
LONGEST_REST_S = 600.0

SCANNED_ROWS = 20_000
SCANNED_S = 2.0
"""A tick reads so many texts, or for so long, whichever is less."""

PRIORITIES = {"new_rows": 5, "changed_texts": 3, "no_answer": 3}
"""A person's runs have 0, and those of a backfill for a new recipe -1."""


def new_rows(
    instance: dg.DagsterInstance, conn: connection, column: TextColumn, cursor: str | None, now: float
) -> dg.SensorResult:
    """Ask for the ranges where rows wait for their first vector, when no more of them are coming in.

    They overtake a backfill that has yet to begin with their range, unless nobody has filled that range before.
    """
    seen = replace(NewRowsCursor.read(cursor), at=now)
    if 0 < seen.rest_until - now <= LONGEST_REST_S:
        return _nothing(f"Looking took long; the next look is in {seen.rest_until - now:.0f} s.", seen)
    began = time.monotonic()
    run = target_run(conn, column)
    id_ranges = register_ranges(instance, conn, column)
    missing = count_missing(conn, column, run.run_id, id_ranges)
    rest = min((time.monotonic() - began) / SHARE_OF_TIME, LONGEST_REST_S)
    seen = replace(seen, rest_until=now + rest if rest > SHORTEST_REST_S else 0.0)
    settled = replace(seen, rows=0, since=None)
    if not missing:
        return _nothing("No row waits for its first vector.", settled)
    found = in_progress(instance, column, id_ranges)
    behind = found.waiting.intersection(missing)
    free = set(missing) - found.taken - (behind - filled_before(conn, column, behind))
    requests = _run_requests(instance, column, id_ranges, free, "new_rows", cursor, now)
    if not requests:
        return _nothing(f"{len(missing)} ranges with new rows are being filled, or failed a while ago.", settled)
    rows = sum(missing[id_range] for id_range in free)
    is_quiet = seen.since is not None and rows == seen.rows
    is_long = seen.since is not None and not 0 <= now - seen.since < LONGEST_WAIT_S
    if not (is_quiet or is_long or rows >= MANY_ROWS):
        waiting = replace(seen, rows=rows, since=now if seen.since is None else seen.since)
        return _nothing(f"{rows} new rows; one more look, whether there are more.", waiting)
    return dg.SensorResult(run_requests=requests, cursor=written(settled))


def changed_texts(
    instance: dg.DagsterInstance, conn: connection, column: TextColumn, cursor: str | None, now: float
) -> dg.SensorResult:
    """Ask for the ranges with changed texts in the next stretch of the table; first see to a new recipe."""
    seen = replace(ChangedTextsCursor.read(cursor, column.id_type), at=now)
    run = target_run(conn, column)
    id_ranges = register_ranges(instance, conn, column)
    if seen.run_id != run.run_id:
        # `embed --model` begins some time after it has changed the recipe, and then does the work itself.
        if seen.noticed != run.run_id:
            return _nothing(f"Run {run.run_id} is new; the next tick sees to it.", replace(seen, noticed=run.run_id))
        persons = [started.run_id for started in unfinished_runs(instance, column) if is_of_a_person(started)]
        if persons:
            return _nothing(f"Run {run.run_id} is new, and somebody fills the column: {persons[0]}.", seen)
        seen = replace(seen, run_id=run.run_id)
        waiting = in_progress(instance, column, id_ranges).waiting
        if old := [r for r in ranges_of_other_runs(conn, column, run.run_id, id_ranges) if r not in waiting]:
            backfill = backfill_once(instance, column, run.run_id, old)
            return _nothing(f"Run {run.run_id} is new: backfill {backfill} fills {len(old)} ranges.", seen)
    seen = replace(seen, noticed=None)
    scan = scan_for_stale(conn, column, run.run_id, id_ranges, seen.after, SCANNED_ROWS, SCANNED_S)
    seen = replace(seen, after=scan.after)
    found = in_progress(instance, column, id_ranges)
    free = set(scan.id_ranges) - found.taken - found.waiting
    requests = _run_requests(instance, column, id_ranges, free, "changed_texts", cursor, now)
    silent = unanswered(instance, column, id_ranges) - free - found.taken - found.waiting
    requests += _run_requests(instance, column, id_ranges, silent, "no_answer", cursor, now)
    if not requests:
        place = "to the end" if scan.after is None else f"up to {scan.after!r:.40}"
        return _nothing(f"{scan.rows} texts read in {scan.seconds:.1f} s, {place}: nothing to ask for.", seen)
    return dg.SensorResult(run_requests=requests, cursor=written(seen))


def _run_requests(
    instance: dg.DagsterInstance,
    column: TextColumn,
    id_ranges: Sequence[IdRange],
    free: Collection[IdRange],
    cause: str,
    cursor: str | None,
    now: float,
) -> list[dg.RunRequest]:
    """Runs over neighbours among the ``free`` ranges, but for those that failed a while ago.

    What has failed is tried again in runs half as long, so that the others of such a run get their vectors.
    """
    failed = failures(instance, column, free, id_ranges) if free else {}
    wanted = [r for r in id_ranges if r in free and (r not in failed or failed[r].may_try(now))][:MOST_RANGES]
    by_length: dict[int, list[IdRange]] = {}
    for id_range in wanted:
        times = failed[id_range].times if id_range in failed else 0
        by_length.setdefault(max(1, ranges_per_run() >> times), []).append(id_range)
    return [
        _run_request(stretch, cause, cursor)
        for longest, chosen in by_length.items()
        for stretch in stretches(id_ranges, chosen, longest)
    ]


def _run_request(stretch: Sequence[IdRange], cause: str, cursor: str | None) -> dg.RunRequest:
    """A run over neighbouring ranges, asked for once though two daemons ask: both have the cursor of the same tick."""
    first, last = stretch[0].key, stretch[-1].key
    if first == last:
        tags = {PARTITION_NAME_TAG: first}
    else:
        tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    asked = hashlib.sha256(f"{cursor} {first} {last}".encode()).hexdigest()
    return dg.RunRequest(
        run_key=None if cursor is None else asked,
        partition_key=first if first == last else None,
        tags={**tags, PRIORITY_TAG: str(PRIORITIES[cause]), CAUSE_TAG: cause},
    )


def _nothing(reason: str, cursor: NewRowsCursor | ChangedTextsCursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=written(cursor))
