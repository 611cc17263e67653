"""A column in operation: its rows, the daemons and the processes of runs; what is asked for, and how it all ends."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import BACKFILL_ID_TAG
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import vector_key
from steam_assets.defs.in_progress import CAUSE_TAG
from steam_assets.defs.partitions import loaded_cuts
from steam_assets.defs.recut import recut
from steam_assets.embed import embed_columns
from steam_assets.id_range import IdRange
from steam_assets.rules import RULES
from steam_assets.store.database import connect, find_database
from steam_assets.store.locks import is_run_alive
from steam_assets_tests.daemons import BEGUN, Daemons
from steam_assets_tests.databases import wait_until
from steam_assets_tests.hash_recipes import RecipeGpu
from steam_assets_tests.operation_truth import Truth
from steam_assets_tests.rows import fetch
from steam_assets_tests.run_process import Place, RunProcess

QUEUED = dg.DagsterRunStatus.QUEUED
ROUNDS = 15
LONGER_THAN_ANY_PAUSE_S = 3_700.0
WANTED = {"new_rows": "missing", "changed_texts": "stale"}
"""What a range holds that automation asks for, by the reason it gives."""
REDDENED_BY_FAILURES = ("complete", "coverage")

# A killed one ended when it lost its lock, which nobody wrote down.
FILLED_TWICE = """
    WITH attempts AS (
        SELECT range_id, range_key, dagster_run_id,
               tstzrange(started_at, coalesce(finished_at, 'infinity')) AS at
        FROM embedding_run_ranges
        WHERE status <> 'lost'
          AND (status <> 'running' OR lock_key IN (
              SELECT (classid::bigint << 32) | objid::bigint
              FROM pg_locks
              WHERE locktype = 'advisory' AND granted
          ))
    )
    SELECT a.range_key, a.dagster_run_id, b.dagster_run_id
    FROM attempts AS a
    JOIN attempts AS b ON a.range_key = b.range_key AND a.range_id < b.range_id AND a.at && b.at
"""
DONE = "SELECT range_key, count(*) FROM embedding_run_ranges WHERE status = 'done' GROUP BY range_key"


class Operation:
    """Everything at one moment; nothing has happened yet."""

    _numbers = count(1)

    def __init__(self, conn: connection, column: TextColumn, daemons: Daemons, logs: Path) -> None:
        self.conn, self.column, self.daemons, self.logs = conn, column, daemons, logs
        self.processes: list[RunProcess] = []
        self.truth = Truth(conn, column)
        self.truth.forget()
        daemons.forget()

    # Automation.

    def look(self, seconds: float, pair: str | None = None) -> None:
        """Let time pass and the daemons look, a pair at one sensor; what they ask for is wanted, and asked for once."""
        self.daemons.clock.sleep(seconds)
        self.truth.check_rows()
        known = {run.run_id for run in self.daemons.unfinished()}
        if pair is None:
            self.daemons.look()
        else:
            self.daemons.look_in_pair(pair)
        unfinished, ranges = self.daemons.unfinished(), self.daemons.ranges()
        members = dict(zip(ranges, self.truth.members(ranges), strict=True))
        taken = {
            id_range: run
            for run in unfinished
            # New rows may overtake a backfill's run that has not begun.
            if run.run_id in known and (BACKFILL_ID_TAG not in run.tags or run.status is not QUEUED)
            for id_range in ranges_of(run, ranges)
        }
        for run in unfinished:
            if run.run_id in known or BACKFILL_ID_TAG in run.tags:
                continue
            for id_range in ranges_of(run, ranges):
                assert id_range not in taken, f"{id_range.key} is asked for by {run}, and {taken[id_range]} has it"
                taken[id_range] = run
                found = {self.truth.states[id_] for id_ in members[id_range]}
                cause = run.tags[CAUSE_TAG]
                assert cause not in WANTED or WANTED[cause] in found, f"{id_range.key} is asked for by {run}: {found}"

    def recut(self) -> None:
        """What `steam-assets ranges --recut` does."""
        with closing(_connect()) as conn:
            conn.autocommit = True
            recut(self.daemons.instance, conn, self.column)

    # Processes.

    def begin(self, runs: Sequence[dg.DagsterRun], place: Place | None = None) -> None:
        """A process for these runs, one after the other; none for no run."""
        if run_ids := [run.run_id for run in runs]:
            self._start(lambda instance: self.daemons.launch(run_ids, instance), place, run_ids)

    def embed(self, place: Place | None) -> None:
        """What `steam-assets embed` does, also when it is interrupted."""

        def work(_instance: dg.DagsterInstance) -> None:
            loaded_cuts.cache_clear()
            with suppress(KeyboardInterrupt):
                embed_columns([self.column], _connect, RecipeGpu(device="cpu"), None, lambda _line: None)

        self._start(work, place, ())

    @property
    def is_embedding(self) -> bool:
        """Whether a process is a command's, whose runs are its own."""
        return any(not process.run_ids for process in self.processes)

    def go_on(self, process: RunProcess) -> None:
        """Let a process go on to its end."""
        process.go_on()
        self._clear_away()

    def terminate(self, process: RunProcess) -> None:
        """Terminate a run at the web UI, or interrupt a command at its terminal."""
        self.daemons.terminate(process.run_ids)
        process.interrupt()
        self._clear_away()

    def kill(self, process: RunProcess) -> None:
        """Kill a process, and wait until the server has seen it."""
        others = {run_id for other in self.processes if other is not process for run_id in other.run_ids}
        run_ids = {run.run_id for run in self.daemons.unfinished() if run.status in BEGUN} - others
        process.kill()
        with closing(_connect()) as conn:
            conn.autocommit = True
            wait_until(lambda: not any(is_run_alive(conn, run_id) for run_id in run_ids), "the locks are free")
        self._clear_away()

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes:
            process.end()

    def _start(self, work: Callable[[dg.DagsterInstance], None], place: Place | None, run_ids: Sequence[str]) -> None:
        self.processes.append(RunProcess(work, place, self.logs / f"{next(self._numbers)}.log", run_ids))
        self._clear_away()

    def _clear_away(self) -> None:
        for process in [process for process in self.processes if process.has_ended]:
            process.check()
            self.processes.remove(process)

    # What must be true.

    def check(self) -> None:
        """Rows, vectors, states and ranges are true, and nobody fills a range that another fills."""
        self.truth.check_rows()
        self.truth.check_ranges(self.daemons.ranges())
        assert fetch(self.conn, FILLED_TWICE) == []

    def settle(self) -> None:
        """Nobody does anything any more: automation comes to an end by itself, and nothing is left to do or to mend."""
        for process in list(self.processes):
            self.go_on(process)
        before, quiet = self._done(), 0
        for _ in range(ROUNDS):
            was_idle = self.daemons.are_idle()
            self.look(LONGER_THAN_ANY_PAUSE_S)
            self.look(6.0)  # new rows are asked for when no more of them are seen
            quiet = quiet + 1 if was_idle and self.daemons.are_idle() else 0
            if quiet == 2:  # a new recipe is noticed by one tick, and seen to by the next
                break
            self.begin(self.daemons.queued())
        else:
            raise AssertionError(f"automation asks on and on: {self.daemons.unfinished()} {self.daemons.backfills()}")
        self.check()
        waiting = {id_: state for id_, state in self.truth.states.items() if state in ("missing", "stale")}
        assert waiting == {}, "every row has its vector"
        ranges = self.daemons.ranges()
        members = self.truth.members(ranges)
        assert sum(map(len, members)) == len(self.truth.texts), "every id is in a range"
        done = self._done()
        for id_range, ids in zip(ranges, members, strict=True):
            if ids and id_range.key in done:
                states = {self.truth.states[id_] for id_ in ids}
                self._check_shown(id_range, "failed" in states, done[id_range.key] > before.get(id_range.key, 0))

    def _done(self) -> Mapping[str, int]:
        """How often each range has been done, by its key."""
        return {str(key): int(str(times)) for key, times in fetch(self.conn, DONE)}

    def _check_shown(self, id_range: IdRange, has_failed_rows: bool, is_recent: bool) -> None:
        """The web UI shows a range that is done as materialized, and as green or red where nobody touched it since."""
        instance, key = self.daemons.instance, vector_key(self.column)
        assert has_failed_rows or id_range.key in instance.get_materialized_partitions(key), f"{id_range.key}: missing"
        shown = {
            info.check_key.name: info.latest_execution_status
            for info in instance.event_log_storage.get_asset_check_partition_info(
                [dg.AssetCheckKey(key, rule.name) for rule in RULES], partition_keys=[id_range.key]
            )
        }
        assert set(shown) == {rule.name for rule in RULES}, f"{id_range.key}: not every rule was asked"
        for name, status in shown.items():
            assert status is not AssetCheckExecutionRecordStatus.PLANNED, f"{id_range.key}: {name} has no answer"
            if not is_recent:
                continue
            if has_failed_rows and name not in REDDENED_BY_FAILURES:
                continue
            is_green = status is AssetCheckExecutionRecordStatus.SUCCEEDED
            assert is_green != has_failed_rows, f"{id_range.key}: {name} is {status}"


def ranges_of(run: dg.DagsterRun, ranges: Sequence[IdRange]) -> list[IdRange]:
    """The ranges that a run is for, by its tags; none where they are of an older cut."""
    keys = [id_range.key for id_range in ranges]
    single = run.tags.get("dagster/partition", "")
    first = run.tags.get("dagster/asset_partition_range_start", single)
    last = run.tags.get("dagster/asset_partition_range_end", single)
    if first not in keys or last not in keys:
        return []
    return list(ranges[keys.index(first) : keys.index(last) + 1])


def _connect() -> connection:
    return connect(find_database())
