"""Ticks of the sensors: what changed is asked for in as few ranges as possible, once, and nothing else is."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.in_progress import CAUSE_TAG, FIRST_PAUSE_S, keys_to_do
from steam_assets.defs.partitions import register_ranges, registered_ranges
from steam_assets.defs.recipes import backfill_once
from steam_assets.defs.resources import GpuResource
from steam_assets.defs.ticks import LONGEST_REST_S, LONGEST_WAIT_S, changed_texts, new_rows
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.id_range import IdRange
from steam_assets.store.database import connect, find_database
from steam_assets.store.runs import finish_range, start_range
from steam_assets.store.states import BLANK_TEXT, names
from steam_assets_tests.requested_runs import HashGpu, asked_for, carry_out, enqueue
from steam_assets_tests.rows import change_recipe, execute, fetch, state_of, target_of

NEW_ROWS_S = 5.0
CHANGED_TEXTS_S = 60.0
SUCCESS = dg.DagsterRunStatus.SUCCESS

FILL = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = array_fill(1 / sqrt(384), ARRAY[384])::vector, {run} = %(run)s, {digest} = md5(t.{text})::uuid
    WHERE {not_blank}
""")

Look = Callable[[dg.DagsterInstance, connection, TextColumn, str | None, float], dg.SensorResult]


@dataclass
class Watch:
    """A column's sensor with a daemon's memory and a clock of its own."""

    instance: dg.DagsterInstance
    look: Look
    every_s: float
    column: TextColumn = APPLICATIONS
    cursor: str | None = None
    now: float = field(default_factory=time.time)

    def tick(self) -> dg.SensorResult:
        """The next tick, in its time."""
        self.now += self.every_s
        with closing(connect(find_database())) as conn:
            conn.autocommit = True
            found = self.look(self.instance, conn, self.column, self.cursor, self.now)
        assert found.cursor is not None
        assert (found.skip_reason is None) == bool(found.run_requests)
        self.cursor = found.cursor
        return found

    def ranges(self, ticks: int = 1) -> list[list[IdRange]]:
        """The ranges of the runs that the last of so many ticks asks for; those before ask for none."""
        for _ in range(ticks - 1):
            assert self.tick().run_requests == []
        return asked_for(self.tick(), registered_ranges(self.instance, self.column))

    def round(self, most_ticks: int = 30) -> set[IdRange]:
        """All ranges asked for in so many ticks."""
        return {id_range for _ in range(most_ticks) for run in self.ranges() for id_range in run}


class BrokenGpu(GpuResource):
    """A device that is out of order."""

    def encoder(self, model: Model) -> Encoder:
        """There is none to be had."""
        raise RuntimeError("the device has fallen off the bus")


@pytest.fixture
def filled(instance: dg.DagsterInstance, tables: connection) -> dg.Definitions:
    """Both tables full of vectors, in eight ranges each, without the seconds that runs would take."""
    for column in COLUMNS:
        run_id = target_of(tables, column)
        fill = FILL.format(**names(column), not_blank=sql.SQL("NOT {}").format(BLANK_TEXT.format(**names(column))))
        execute(tables, fill, run=run_id)
        for id_range in register_ranges(instance, tables, column):
            finish_range(tables, start_range(tables, column, run_id, id_range.key, "a run", "cpu", "fp32"), "done")
        tables.commit()
        assert state_of(tables, column).pending == 0
    return build_definitions(gpu=HashGpu(device="cpu"))


@pytest.fixture
def new(instance: dg.DagsterInstance, filled: dg.Definitions) -> Watch:
    """The sensor of new applications, all of which are embedded."""
    watch = Watch(instance, new_rows, NEW_ROWS_S)
    assert watch.ranges() == []
    return watch


@pytest.fixture
def changed(instance: dg.DagsterInstance, filled: dg.Definitions) -> Watch:
    """The sensor of changed applications, which knows their recipe."""
    watch = Watch(instance, changed_texts, CHANGED_TEXTS_S)
    assert watch.ranges(ticks=3) == []
    return watch


def add(conn: connection, *appids: int, name: str = "A new game") -> None:
    """Insert applications."""
    for appid in appids:
        execute(conn, "INSERT INTO applications (appid, name) VALUES (%(id)s, %(name)s)", id=appid, name=name)


def rename(conn: connection, *appids: int) -> None:
    """Change the texts of applications."""
    execute(conn, "UPDATE applications SET name = name || '!' WHERE appid = ANY (%(ids)s)", ids=list(appids))


def test_a_new_row_ends_in_one_run_over_the_one_range_it_falls_in(
    new: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """Seen at one tick, asked for at the next, and when the run is through there is nothing to ask for."""
    add(tables, 75)
    (expected,) = (r for r in registered_ranges(instance, APPLICATIONS) if (r.start, r.stop) == (70, 100))
    assert new.ranges() == []
    asked = new.tick()
    assert asked_for(asked, registered_ranges(instance, APPLICATIONS)) == [[expected]]
    (request,) = asked.run_requests or ()
    assert request.partition_key == expected.key
    assert request.tags == {"dagster/partition": expected.key, "dagster/priority": "5", CAUSE_TAG: "new_rows"}

    assert carry_out(instance, filled, APPLICATIONS, asked) == [SUCCESS]
    assert state_of(tables, APPLICATIONS).pending == 0
    assert new.ranges(ticks=3) == []


def test_a_row_beyond_all_others_falls_in_a_range_that_is_there(
    new: Watch, instance: dg.DagsterInstance, tables: connection
) -> None:
    """One range is kept ahead of the newest id, and when it is reached the next one."""
    before = registered_ranges(instance, APPLICATIONS)
    add(tables, 252)
    assert new.ranges(ticks=2) == [[before[-1]]]
    assert len(registered_ranges(instance, APPLICATIONS)) == len(before) + 1


def test_neighbours_share_a_run_and_distant_ranges_do_not(
    new: Watch, instance: dg.DagsterInstance, tables: connection
) -> None:
    """The model is loaded once for as many as are asked for together."""
    ranges = registered_ranges(instance, APPLICATIONS)
    add(tables, 15, 45, 75, 135)
    assert new.ranges(ticks=2) == [ranges[:3], ranges[4:5]]


def test_a_run_has_no_more_ranges_than_a_backfill_s(
    new: Watch, instance: dg.DagsterInstance, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a tick asks for no more than the daemon can enqueue in a moment; the next one goes on."""
    monkeypatch.setenv("STEAM_ASSETS_RANGES_PER_RUN", "2")
    monkeypatch.setattr("steam_assets.defs.ticks.MOST_RANGES", 3)
    ranges = registered_ranges(instance, APPLICATIONS)
    add(tables, 15, 45, 75, 105, 135)
    assert new.ranges(ticks=2) == [ranges[:2], ranges[2:3]]


def test_rows_that_keep_coming_in_are_waited_for_but_not_for_ever(new: Watch, tables: connection) -> None:
    """A burst is one run after its end; a stream is a run every half minute."""
    for appid in range(11, 15):
        add(tables, appid)
        assert new.ranges() == []
    assert len(new.ranges()) == 1

    began = new.now
    appid = 151
    add(tables, appid)
    while not new.ranges():
        appid += 1
        add(tables, appid)
    assert new.now - began == pytest.approx(LONGEST_WAIT_S + NEW_ROWS_S)


def test_with_many_rows_to_fill_nobody_waits_for_more(
    new: Watch, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load has work for a while already."""
    monkeypatch.setattr("steam_assets.defs.ticks.MANY_ROWS", 3)
    add(tables, 11, 12)
    assert new.ranges() == []
    add(tables, 13)
    assert len(new.ranges()) == 1


def test_a_range_that_a_run_has_is_not_asked_for_until_the_run_has_ended(
    new: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """Queued or at work, of a person or of the sensor itself; the range beside it is."""
    ranges = registered_ranges(instance, APPLICATIONS)
    add(tables, 15, 45)
    for status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED):
        run = enqueue(instance, filled, APPLICATIONS, {"dagster/partition": ranges[0].key}, status)
        assert new.ranges(ticks=2) == [[ranges[1]]]
        instance.delete_run(run.run_id)
    assert new.ranges(ticks=2) == [ranges[:2]]


def test_a_tick_that_happens_twice_asks_for_the_same_run(new: Watch, tables: connection) -> None:
    """Two daemons have the same cursor, and Dagster starts a run key once; a later run has a key of its own."""
    add(tables, 15)
    new.tick()
    before = new.cursor
    keys = []
    for _ in range(2):
        new.cursor = before
        keys += [request.run_key for request in new.tick().run_requests or ()]
    new.tick()
    keys += [request.run_key for request in new.tick().run_requests or ()]
    assert len(keys) == 3
    assert None not in keys
    assert len(set(keys)) == 2


def test_what_has_failed_is_tried_again_later_and_in_shorter_runs(
    new: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """Not every five seconds: a device that is out of order stays so for a while. Then a good run ends it."""
    broken = build_definitions(gpu=BrokenGpu(device="cpu"))
    ranges = registered_ranges(instance, APPLICATIONS)
    add(tables, 15, 45, 75, 105)
    new.tick()
    asked = new.tick()
    assert asked_for(asked, ranges) == [ranges[:4]]
    assert carry_out(instance, broken, APPLICATIONS, asked) == [dg.DagsterRunStatus.FAILURE]

    for failed, pause in ((1, FIRST_PAUSE_S), (2, 2 * FIRST_PAUSE_S)):
        new.now = time.time()
        assert new.ranges(ticks=int(pause / NEW_ROWS_S) - 1) == []
        new.now = time.time() + pause
        new.tick()
        asked = new.tick()
        longest = 10 >> failed
        assert asked_for(asked, ranges) == [ranges[n : min(n + longest, 4)] for n in range(0, 4, longest)]
        if failed == 1:
            carry_out(instance, broken, APPLICATIONS, asked)
    assert set(carry_out(instance, filled, APPLICATIONS, asked)) == {SUCCESS}
    assert new.ranges(ticks=3) == []


def test_new_rows_overtake_a_backfill_but_not_the_first_filling(
    new: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """A backfill may take hours. Where nobody has filled a range before, its rows are what the backfill is for."""
    ranges = registered_ranges(instance, APPLICATIONS)
    backfill_once(instance, APPLICATIONS, 1, ranges)
    of_backfill = {"dagster/partition": ranges[1].key, "dagster/backfill": "r1"}
    enqueue(instance, filled, APPLICATIONS, of_backfill)
    add(tables, 15, 45)
    assert new.ranges(ticks=2) == [ranges[:2]]

    execute(tables, "DELETE FROM embedding_run_ranges WHERE range_key = %(key)s", key=ranges[0].key)
    assert new.ranges(ticks=2) == [[ranges[1]]]
    enqueue(instance, filled, APPLICATIONS, of_backfill, dg.DagsterRunStatus.STARTED)
    assert new.ranges(ticks=2) == []


def test_a_table_that_is_empty_at_first_gets_its_ranges_and_runs_with_its_first_rows(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """Nothing is asked for before; then everything, in ranges of equal rows."""
    execute(tables, "DELETE FROM reviews")
    new, changed = (
        Watch(instance, look, every_s, REVIEWS)
        for look, every_s in ((new_rows, NEW_ROWS_S), (changed_texts, CHANGED_TEXTS_S))
    )
    assert new.ranges(ticks=2) == changed.ranges(ticks=3) == []
    assert registered_ranges(instance, REVIEWS) == []
    execute(
        tables,
        "INSERT INTO reviews (recommendationid, appid, review_text) SELECT n, 10, 'x' FROM generate_series(1, 80) n",
    )
    (asked,) = new.ranges(ticks=2)
    assert asked == registered_ranges(instance, REVIEWS)
    assert len(asked) == 8


def test_where_looking_takes_long_it_is_done_less_often(
    new: Watch, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twentieth of the time, without the index; a clock that is put back ends the pause."""
    with monkeypatch.context() as slow:
        slow.setattr("steam_assets.defs.ticks.SHARE_OF_TIME", 1e-5)
        assert new.ranges() == []
    add(tables, 15)
    for _ in range(10):
        found = new.tick()
        assert found.skip_reason is not None
        assert "Looking took long" in (found.skip_reason.skip_message or "")
    new.now += LONGEST_REST_S
    assert len(new.ranges(ticks=2)) == 1

    with monkeypatch.context() as slow:
        slow.setattr("steam_assets.defs.ticks.SHARE_OF_TIME", 1e-5)
        new.tick()
    new.now -= 10_000
    assert new.round(2) == set(registered_ranges(new.instance, APPLICATIONS)[:1])


def test_deleting_the_rows_of_a_range_leaves_nothing_to_do_and_nothing_red(
    new: Watch, changed: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """Neither sensor asks for the empty range; a run over it, which a backfill may start, is green."""
    ranges = registered_ranges(instance, APPLICATIONS)
    execute(tables, "DELETE FROM applications WHERE appid IN (80, 110, 120, 130)")
    assert new.round() == changed.round(3) == set()
    by_hand = dg.SensorResult(run_requests=[dg.RunRequest(partition_key=ranges[3].key)])
    assert carry_out(instance, filled, APPLICATIONS, by_hand) == [SUCCESS]
    execute(tables, "DELETE FROM reviews")
    execute(tables, "DELETE FROM applications")
    assert new.round() == changed.round(3) == set()


def test_a_changed_text_ends_in_one_run_over_its_range(
    changed: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """One that has become blank too; after the run there is nothing to ask for."""
    ranges = registered_ranges(instance, APPLICATIONS)
    rename(tables, 80)
    execute(tables, "UPDATE applications SET name = NULL, short_description = ' ' WHERE appid = 200")
    asked = changed.tick()
    assert asked_for(asked, ranges) == [[ranges[2]], [ranges[6]]]
    (first, *_) = asked.run_requests or ()
    assert first.tags[CAUSE_TAG] == "changed_texts"
    assert first.tags["dagster/priority"] == "3"
    assert set(carry_out(instance, filled, APPLICATIONS, asked)) == {SUCCESS}
    assert state_of(tables, APPLICATIONS).pending == 0
    assert changed.round(3) == set()


def test_every_text_is_read_within_a_round_of_short_stretches(
    changed: Watch, instance: dg.DagsterInstance, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the round stands when a text changes, and though the row it ended at is deleted."""
    monkeypatch.setattr("steam_assets.defs.ticks.SCANNED_ROWS", 4)
    ranges = registered_ranges(instance, APPLICATIONS)
    for appid, place in ((10, 0), (80, 2), (240, 7)):
        changed.tick()
        execute(tables, "DELETE FROM applications WHERE appid = 120")
        rename(tables, appid)
        assert changed.round(7) == {ranges[place]}
        rename_back(tables, appid)


def rename_back(conn: connection, appid: int) -> None:
    """Undo what ``rename`` did."""
    execute(conn, "UPDATE applications SET name = rtrim(name, '!') WHERE appid = %(id)s", id=appid)


def test_a_text_that_changes_in_a_range_in_progress_is_left_to_that_run_or_the_next_round(
    changed: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """A run reads the text that is there when it comes to it; a backfill too."""
    ranges = registered_ranges(instance, APPLICATIONS)
    rename(tables, 15, 80, 110)
    run = enqueue(instance, filled, APPLICATIONS, {"dagster/partition": ranges[2].key}, dg.DagsterRunStatus.STARTED)
    backfill = instance.get_backfill(backfill_once(instance, APPLICATIONS, 1, ranges[3:]))
    assert backfill is not None
    assert changed.round(2) == set()
    instance.delete_run(run.run_id)
    assert changed.round(2) == {ranges[2]}
    instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    assert changed.round(2) == {ranges[2], ranges[3]}


def test_a_new_recipe_is_one_backfill_of_the_ranges_with_old_vectors(
    changed: Watch, new: Watch, instance: dg.DagsterInstance, tables: connection
) -> None:
    """Seen at one tick, seen to at the next, twice by two daemons; until it ends nobody asks for its ranges."""
    ranges = registered_ranges(instance, APPLICATIONS)
    execute(tables, "UPDATE applications SET description_embedding = NULL, embedding_run_id = NULL WHERE appid < 40")
    execute(tables, "UPDATE applications SET name = NULL, short_description = NULL WHERE appid < 40")
    change_recipe(tables, APPLICATIONS, "second")
    assert changed.ranges() == []
    assert instance.get_backfills() == []
    before = changed.cursor
    for _ in range(2):
        changed.cursor = before
        assert changed.ranges() == []
    (backfill,) = instance.get_backfills()
    assert keys_to_do(instance, backfill, APPLICATIONS) == {id_range.key for id_range in ranges[1:8]}
    assert backfill.tags["dagster/priority"] == "-1"

    assert changed.round(3) == new.round(3) == set()
    instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_FAILED))
    assert changed.round(3) == set(ranges[1:8])
    assert len(instance.get_backfills()) == 1


def test_a_new_recipe_waits_while_somebody_fills_the_column(
    changed: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """`embed --model` does the work itself; a backfill does what it leaves, and waits for no run of automation."""
    ranges = registered_ranges(instance, APPLICATIONS)
    change_recipe(tables, APPLICATIONS, "second")
    embed = enqueue(instance, filled, APPLICATIONS, {"dagster/partition": ranges[0].key}, dg.DagsterRunStatus.STARTED)
    enqueue(instance, filled, APPLICATIONS, {"dagster/partition": ranges[5].key, CAUSE_TAG: "new_rows"})
    assert changed.ranges(ticks=4) == []
    assert instance.get_backfills() == []

    execute(tables, "DELETE FROM applications WHERE appid < 40")
    instance.report_run_canceled(embed)
    assert changed.ranges() == []
    (backfill,) = instance.get_backfills()
    assert keys_to_do(instance, backfill, APPLICATIONS) == {id_range.key for id_range in ranges[1:8]}


def test_a_recipe_that_was_taken_back_or_dealt_with_needs_no_backfill(
    changed: Watch, instance: dg.DagsterInstance, tables: connection
) -> None:
    """By `embed --model`, which was through before the next tick."""
    ((first,),) = fetch(tables, "SELECT target_run_id FROM embedding_columns WHERE vector_column LIKE 'desc%%'")
    change_recipe(tables, APPLICATIONS, "second")
    changed.tick()
    execute(tables, "UPDATE embedding_columns SET target_run_id = %(run)s", run=first)
    assert changed.ranges(ticks=3) == []
    second = change_recipe(tables, APPLICATIONS, "second")
    changed.tick()
    execute(tables, "UPDATE applications SET embedding_run_id = %(run)s WHERE embedding_run_id IS NOT NULL", run=second)
    assert changed.ranges(ticks=3) == []
    assert instance.get_backfills() == []


def test_what_a_backfill_is_to_fill_anyway_needs_no_other(
    changed: Watch, instance: dg.DagsterInstance, tables: connection
) -> None:
    """Somebody has launched one, or the model has changed once more: a run fills with what is due when it begins."""
    ranges = registered_ranges(instance, APPLICATIONS)
    first = backfill_once(instance, APPLICATIONS, 77, ranges[:6])
    change_recipe(tables, APPLICATIONS, "second")
    assert changed.ranges(ticks=2) == []
    ((second,),) = [[b for b in instance.get_backfills() if b.backfill_id != first]]
    assert keys_to_do(instance, second, APPLICATIONS) == {id_range.key for id_range in ranges[6:8]}


def test_a_sensor_that_is_turned_on_late_finds_the_vectors_of_an_older_recipe(
    instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """It remembers nothing, and looks."""
    change_recipe(tables, APPLICATIONS, "second")
    late = Watch(instance, changed_texts, CHANGED_TEXTS_S)
    assert late.ranges(ticks=2) == []
    assert len(instance.get_backfills()) == 1


def test_a_new_row_in_the_table_gets_its_vector_from_the_request(
    new: Watch, instance: dg.DagsterInstance, filled: dg.Definitions, tables: connection
) -> None:
    """End to end for text keys, whose last range is open."""
    execute(tables, "INSERT INTO reviews (recommendationid, appid, review_text) VALUES ('zzz', 10, 'great')")
    watch = Watch(instance, new_rows, NEW_ROWS_S, REVIEWS)
    watch.tick()
    asked = watch.tick()
    assert asked_for(asked, registered_ranges(instance, REVIEWS)) == [[registered_ranges(instance, REVIEWS)[-1]]]
    assert carry_out(instance, filled, REVIEWS, asked) == [SUCCESS]
    assert fetch(tables, "SELECT review_embedding IS NOT NULL FROM reviews WHERE recommendationid = 'zzz'") == [(True,)]
    assert watch.ranges(ticks=2) == []
