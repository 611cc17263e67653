"""Random histories of a column in operation: whatever is edited, asked for and killed, no range is lost or twice."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.instance import prepare_dagster_home
from steam_assets.defs.recut import TableBusy
from steam_assets_tests.daemons import Clock, Daemons
from steam_assets_tests.hash_recipes import MODELS, POISON, make_model
from steam_assets_tests.operation import Operation
from steam_assets_tests.operation_truth import Id
from steam_assets_tests.rows import NOTES, NUMBERED, make_table
from steam_assets_tests.run_process import Place, RunProcess

# Of Dagster's own, when it describes a schedule to its own daemons.
pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars` is deprecated")

SEQUENCES = 100
"""Half of them with each type of key."""
PHASES = (Phase.generate, Phase.shrink)
STEPS = 12
AT_ONCE = 2
"""Processes that work at the same time."""
CUT_SMALL = {"ranges.ROWS_PER_RANGE": 4, "ranges.FEWEST_RANGES": 3, "write.CHUNK_ROWS": 2, "read.PAGE_ROWS": 4}
SETTINGS = {
    "STEAM_ASSETS_AUTOMATION": "1",
    "STEAM_ASSETS_RANGES_PER_RUN": "3",
    "STEAM_ASSETS_CPU_WORKERS": str(AT_ONCE),
    "STEAM_ASSETS_DEVICE": "cpu",
}

TEXTS = st.one_of(
    st.sampled_from(["a farm", "two farms", "dragons", "trains", "ships", "素晴らしい"]),
    st.sampled_from(["", " \n\t", None, f"{POISON} one", f"{POISON} two"]),
)
IDS: dict[str, st.SearchStrategy[int] | st.SearchStrategy[str]] = {
    "bigint": st.one_of(st.integers(-20, 90), st.sampled_from([500, 503, 10_000, 2**40, 2**63 - 1])),
    "text": st.one_of(st.integers(0, 40).map("k{:02}".format), st.sampled_from(["", "a b", "Ä", "~", "z%", "0"])),
}
PLACES = st.one_of(
    st.none(),
    st.builds(Place, kind=st.just("commit"), number=st.integers(0, 5)),
    st.builds(Place, kind=st.just("event"), number=st.integers(0, 60)),
)
SECONDS = st.sampled_from([6.0, 31.0, 61.0, 61.0, 200.0, 4_000.0])


class Sequence(RuleBasedStateMachine):
    """Edits by somebody else, daemons that look, and runs that begin, stop, go on, are terminated and killed."""

    begin: Callable[[], Operation]

    def __init__(self) -> None:
        super().__init__()
        self.operation = type(self).begin()
        self.daemons, self.truth = self.operation.daemons, self.operation.truth
        self.column = self.truth.column
        self.truth.fill_with(MODELS[0])

    # What somebody else does to the table.

    @initialize(rows=st.sampled_from([0, 1, 5, 14, 30]))
    def the_table_has_rows(self, rows: int) -> None:
        self.truth.add({2 * n if self.column.id_type == "bigint" else f"k{n:02}": f"text {n}" for n in range(rows)})

    @rule(data=st.data())
    def somebody_adds_rows(self, data: st.DataObject) -> None:
        self.truth.add(data.draw(st.dictionaries(IDS[self.column.id_type], TEXTS, min_size=1, max_size=6)))

    @precondition(lambda self: self.truth.texts)
    @rule(data=st.data(), text=TEXTS)
    def somebody_changes_texts(self, data: st.DataObject, text: str | None) -> None:
        for id_ in self.some_ids(data):
            self.truth.change(id_, text)

    @precondition(lambda self: self.truth.texts)
    @rule(data=st.data())
    def somebody_deletes_rows(self, data: st.DataObject) -> None:
        self.truth.delete(self.some_ids(data))

    @precondition(lambda self: self.daemons.ranges())
    @rule(data=st.data())
    def somebody_deletes_all_rows_of_a_range(self, data: st.DataObject) -> None:
        self.truth.delete(self.truth.members([data.draw(st.sampled_from(self.daemons.ranges()))])[0])

    # What time and the daemons do.

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.operation.look(seconds)

    @rule(seconds=SECONDS, place=PLACES)
    def new_rows_are_asked_for_and_the_oldest_run_begins(self, seconds: float, place: Place | None) -> None:
        self.operation.look(seconds)
        self.operation.look(6.0)
        if len(self.operation.processes) < AT_ONCE:
            self.operation.begin(self.daemons.queued()[:1], place)

    @rule(seconds=SECONDS, sensor=st.sampled_from(["new_rows", "changed_texts", "lost_runs"]))
    def two_daemons_evaluate_the_same_tick(self, seconds: float, sensor: str) -> None:
        self.operation.look(seconds, pair=sensor)

    # What a person asks for.

    @precondition(lambda self: self.daemons.ranges())
    @rule(data=st.data())
    def somebody_asks_for_a_backfill(self, data: st.DataObject) -> None:
        ranges = self.daemons.ranges()
        chosen = data.draw(st.sets(st.integers(0, len(ranges) - 1), min_size=1, max_size=4))
        self.daemons.backfill([ranges[place] for place in sorted(chosen)])

    @rule(model=st.sampled_from(MODELS))
    def somebody_chooses_a_model(self, model: str) -> None:
        self.truth.fill_with(model)

    @rule(cuts=st.booleans())
    def the_daemons_start_again_perhaps_with_a_new_cut(self, cuts: bool) -> None:
        if cuts and not self.daemons.are_idle():
            with pytest.raises(TableBusy):
                self.operation.recut()
        elif cuts:
            self.operation.recut()
            self.operation.look(61.0)  # of daemons that have loaded the old one
        self.daemons.stop()
        self.daemons.start()

    # What becomes of runs.

    @precondition(lambda self: len(self.operation.processes) < AT_ONCE and not self.operation.is_embedding)
    @rule(place=PLACES)
    def somebody_embeds_on_the_command_line(self, place: Place | None) -> None:
        self.operation.embed(place)

    @precondition(lambda self: len(self.operation.processes) < AT_ONCE and self.daemons.queued())
    @rule(data=st.data(), place=PLACES)
    def a_run_begins(self, data: st.DataObject, place: Place | None) -> None:
        queued = self.daemons.queued()
        self.operation.begin([queued[data.draw(st.integers(0, len(queued) - 1))]], place)

    @precondition(lambda self: self.operation.processes)
    @rule(data=st.data())
    def a_run_goes_on(self, data: st.DataObject) -> None:
        self.operation.go_on(self.one_of_the_processes(data))

    @precondition(lambda self: self.operation.processes)
    @rule(data=st.data())
    def a_run_is_terminated(self, data: st.DataObject) -> None:
        self.operation.terminate(self.one_of_the_processes(data))

    @precondition(lambda self: self.operation.processes)
    @rule(data=st.data())
    def a_run_s_process_is_killed(self, data: st.DataObject) -> None:
        self.operation.kill(self.one_of_the_processes(data))

    @precondition(lambda self: self.daemons.queued())
    @rule(data=st.data())
    def a_run_is_terminated_in_the_queue(self, data: st.DataObject) -> None:
        queued = self.daemons.queued()
        self.daemons.cancel_queued(queued[data.draw(st.integers(0, len(queued) - 1))])

    @precondition(lambda self: self.daemons.backfills())
    @rule(data=st.data())
    def a_backfill_is_cancelled(self, data: st.DataObject) -> None:
        backfills = self.daemons.backfills()
        self.daemons.cancel_backfill(backfills[data.draw(st.integers(0, len(backfills) - 1))])

    @invariant()
    def everything_is_true(self) -> None:
        self.operation.check()

    def some_ids(self, data: st.DataObject) -> list[Id]:
        """A few rows, or many neighbours."""
        ids = list(self.truth.texts)
        first = data.draw(st.integers(0, len(ids) - 1))
        return ids[first : first + data.draw(st.sampled_from([1, 1, 3, 20]))]

    def one_of_the_processes(self, data: st.DataObject) -> RunProcess:
        """One of those that are stopped at their places."""
        return self.operation.processes[data.draw(st.integers(0, len(self.operation.processes) - 1))]

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.operation.settle()
        finally:
            self.operation.end()


@pytest.fixture(params=[NUMBERED, NOTES], ids=["bigint", "text"])
def begin(
    request: pytest.FixtureRequest,
    dagster_url: str,
    conn: connection,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Operation]]:
    """Begins an operation anew: an empty table, an empty instance, models to choose from, everything cut small."""
    column: TextColumn = request.param
    for name in MODELS:
        make_model(home / name)
    for name, small in CUT_SMALL.items():
        monkeypatch.setattr(f"steam_assets.store.{name}", small)
    for name, setting in SETTINGS.items():
        monkeypatch.setenv(name, setting)
    make_table(conn, column, column.id_type)
    prepare_dagster_home()
    clock = Clock()
    clock.patch(monkeypatch)
    daemons = Daemons(column, clock)
    yield lambda: Operation(conn, column, daemons, home)
    daemons.stop()


def play(begin: Callable[[], Operation], sequences: int) -> None:
    """So many random sequences, the same each time: what fails in one place can be seen in another."""
    run_state_machine_as_test(
        type("Sequence", (Sequence,), {"begin": staticmethod(begin)}),
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            print_blob=True,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("begin", [NUMBERED], ids=["bigint"], indirect=True)
def test_a_sequence_of_operation_settles_and_is_shown_as_it_is(begin: Callable[[], Operation]) -> None:
    """Edits, backfills, recipes, cuts, pairs of daemons, and runs stopped anywhere; before it one of a single step."""
    play(begin, 2)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_no_sequence_of_operation_loses_a_row_or_does_a_range_twice(begin: Callable[[], Operation]) -> None:
    """A hundred of them; one that fails is printed, and shortened for five minutes at most."""
    play(begin, SEQUENCES // 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("begin", [NUMBERED], ids=["bigint"], indirect=True)
@pytest.mark.parametrize("end", [Operation.kill, Operation.terminate])
def test_a_run_that_ends_before_any_of_its_events_leaves_nothing_undone_and_nothing_unsaid(
    begin: Callable[[], Operation], end: Callable[[Operation, RunProcess], None]
) -> None:
    """A range whose rows are written and of which Dagster was told nothing, or half, is asked for once more."""
    for place in map(partial(Place, "event"), count()):
        operation = begin()
        operation.truth.fill_with(MODELS[0])
        operation.truth.add({n: f"text {n}" for n in range(7)})
        operation.look(61.0)
        operation.look(6.0)
        operation.begin(operation.daemons.queued(), place)
        if not operation.processes:
            assert place.number > 3 * 7, "each of three ranges has its materialization and six answers"
            return
        try:
            end(operation, operation.processes[0])
            operation.settle()
        finally:
            operation.end()


def test_what_happens_beside_a_run_that_has_written_half_a_range(begin: Callable[[], Operation]) -> None:
    """Texts that change then get no vector of what they were, and a command leaves the range to the run that has it."""
    operation = begin()
    operation.truth.fill_with(MODELS[0])
    operation.truth.add({2 * n if operation.column.id_type == "bigint" else f"k{n:02}": f"text {n}" for n in range(14)})
    operation.look(61.0)
    operation.look(6.0)
    operation.begin(operation.daemons.queued()[:1], Place("commit", 0))
    (run,) = operation.processes
    try:
        operation.check()
        for id_ in list(operation.truth.texts):
            operation.truth.change(id_, "another text")
        operation.embed(None)
        operation.check()
        operation.go_on(run)
        operation.check()
        operation.settle()
    finally:
        operation.end()
