"""Rounds in which every way of writing has its turn on fresh rows, and the figures that come of them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.store.write import CHUNK_ROWS
from steam_assets_tests.benchmarks import tool_patterns as tools
from steam_assets_tests.benchmarks import write_patterns as patterns
from steam_assets_tests.benchmarks.scratch import Connect
from steam_assets_tests.benchmarks.tables import FreshRows, Shape, make_table, updated_at_trigger
from steam_assets_tests.benchmarks.tool_patterns import Store, create_store, through_psycopg
from steam_assets_tests.benchmarks.write_patterns import through_psycopg2
from steam_assets_tests.benchmarks.write_turn import (
    Cost,
    Session,
    Turn,
    peak_bytes,
    stored_vectors,
    timed,
    unit_vectors,
)

PREDECESSOR = "predecessor"
OURS = "ours"
WITH_TRIGGER = " + updated_at trigger"
SLOW_SHARE = 5
"""A way that sends vectors as text gets a fifth of the rows, but for the predecessor: its rate is what is compared."""


@dataclass(frozen=True)
class Variant:
    """A way of writing: into the shape's table, or into ``store``, a table of a tool's own."""

    name: str
    start: Callable[[Connect], Session]
    slow: bool = False
    store: Store | None = None

    @property
    def has_trigger(self) -> bool:
        """Whether the predecessor's trigger is on the table meanwhile."""
        return self.name.endswith(WITH_TRIGGER)

    def rows(self, rows: int) -> int:
        """Of a turn, where a fast way gets ``rows``."""
        return max(1, rows // SLOW_SHARE) if self.slow else rows


VARIANTS = (
    Variant(PREDECESSOR, through_psycopg2(patterns.predecessor)),
    Variant(OURS, through_psycopg2(patterns.ours)),
    Variant("ours, no guard", through_psycopg2(patterns.ours_without_guard)),
    Variant("psycopg COPY write_row", through_psycopg(tools.psycopg_rows)),
    Variant("execute_values", through_psycopg2(patterns.many_rows_a_statement), slow=True),
    Variant("row by row", through_psycopg2(patterns.row_by_row), slow=True),
    Variant("row by row, a commit each", through_psycopg2(patterns.row_by_row_committed), slow=True),
    Variant(PREDECESSOR + WITH_TRIGGER, through_psycopg2(patterns.predecessor), slow=True),
    Variant(OURS + WITH_TRIGGER, through_psycopg2(patterns.ours)),
    Variant("pgai", through_psycopg(tools.pgai), store=tools.PGAI),
    Variant("CocoIndex", through_psycopg(tools.cocoindex), store=tools.COCOINDEX),
    Variant("LangChain PGVector", through_psycopg2(tools.langchain), slow=True, store=tools.LANGCHAIN),
    Variant("LlamaIndex PGVectorStore", through_psycopg2(tools.llamaindex), slow=True, store=tools.LLAMAINDEX),
)


@dataclass(frozen=True)
class WriteRow:
    """Medians over rounds of one way of writing; None where there is nothing to say, ``skipped`` why.

    ``memory_bytes_per_row`` is the peak while one chunk of ``memory_rows`` is written. The ratio of processor time is
    the predecessor's, client and backend, over this one's.
    """

    name: str
    shape: str
    ratio_to_predecessor: float | None = None
    rows_per_s: float | None = None
    client_us_per_row: float | None = None
    backend_us_per_row: float | None = None
    cpu_ratio: float | None = None
    memory_bytes_per_row: float | None = None
    memory_ratio: float | None = None
    memory_rows: int | None = None
    wal_bytes_per_row: float | None = None
    seconds_median: float | None = None
    seconds_min: float | None = None
    seconds_max: float | None = None
    rounds: int = 0
    rows: int = 0
    own_table: bool = False
    skipped: str | None = None

    @property
    def cpu_us_per_row(self) -> float | None:
        """Of both ends."""
        if self.client_us_per_row is None or self.backend_us_per_row is None:
            return None
        return self.client_us_per_row + self.backend_us_per_row


@dataclass
class WriteRace:
    """Measurements of one shape of table, as they come in."""

    shape: Shape
    rows: int
    rounds: int
    variants: Sequence[Variant] = VARIANTS
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self, connect: Connect, texts: Sequence[str], dimension: int) -> None:
        """A first turn of each, not timed, that shows its memory; then the rounds."""
        with ExitStack() as stack:
            conn = stack.enter_context(closing(connect()))
            table = make_table(conn, self.shape, self._rows_needed(), dimension, texts)
            observer = stack.enter_context(closing(connect()))
            sessions: dict[str, Session] = {}
            for variant in self.variants:
                try:
                    sessions[variant.name] = variant.start(connect)
                except ImportError as error:
                    self.skipped[variant.name] = f"{error.name} is not installed"
                else:
                    stack.callback(sessions[variant.name].close)
            for number in range(self.rounds + 1):
                self._round(number, table, unit_vectors(self._rows_in(number), dimension, number), sessions, observer)

    def _rows_in(self, number: int) -> int:
        """Of a fast way's turn in a round; in the first, one chunk of ours."""
        return self.rows if number else min(self.rows, CHUNK_ROWS)

    def _rows_needed(self) -> int:
        return sum(
            variant.rows(self._rows_in(number))
            for number in range(self.rounds + 1)
            for variant in self.variants
            if variant.store is None
        )

    def _round(
        self,
        number: int,
        table: FreshRows,
        vectors: NDArray[np.float32],
        sessions: Mapping[str, Session],
        observer: connection,
    ) -> None:
        """Each variant once, every other round backwards, so that what drifts cancels out."""
        variants = [variant for variant in self.variants if variant.name in sessions]
        in_place = {v.name: table.take(vectors[: v.rows(len(vectors))]) for v in variants if v.store is None}
        # The first change of a page after a checkpoint writes all of it to the WAL: here each variant pays for its own.
        checkpoint(observer)
        for variant in variants if number % 2 == 0 else variants[::-1]:
            turn = in_place.get(variant.name) or next(in_place[PREDECESSOR].chunks(variant.rows(len(vectors))))
            if number == 0 and variant.store is not None:
                create_store(observer, variant.store, turn)
            with updated_at_trigger(observer, table.column) if variant.has_trigger else nullcontext():
                self._take_turn(number, variant, sessions[variant.name], turn, observer)
            check_stored(observer, variant, turn)

    def _take_turn(self, number: int, variant: Variant, session: Session, turn: Turn, observer: connection) -> None:
        if number == 0:
            self.peaks[variant.name] = peak_bytes(session, turn)
            return
        cost = timed(session, turn, observer)
        self.costs.setdefault(variant.name, []).append(cost)
        self.say(f"round {number}, {self.shape.name}, {variant.name}: {len(turn) / cost.seconds:,.0f} rows/s")

    def found(self) -> list[WriteRow]:
        """A row for each variant, in their order."""
        reference = self._row(self.variants[0], None)
        return [self._row(variant, reference) for variant in self.variants]

    def _row(self, variant: Variant, reference: WriteRow | None) -> WriteRow:
        costs = self.costs.get(variant.name)
        if not costs:
            return WriteRow(variant.name, self.shape.name, skipped=self.skipped.get(variant.name, "not run yet"))
        rows = variant.rows(self.rows)
        memory_rows = variant.rows(self._rows_in(0))
        row = WriteRow(
            variant.name,
            self.shape.name,
            rows_per_s=rows / median(cost.seconds for cost in costs),
            client_us_per_row=1e6 / rows * median(cost.client_s for cost in costs),
            backend_us_per_row=1e6 / rows * median(cost.backend_s for cost in costs),
            memory_bytes_per_row=self.peaks[variant.name] / memory_rows,
            memory_rows=memory_rows,
            wal_bytes_per_row=median(cost.wal_bytes for cost in costs) / rows,
            seconds_median=median(cost.seconds for cost in costs),
            seconds_min=min(cost.seconds for cost in costs),
            seconds_max=max(cost.seconds for cost in costs),
            rounds=len(costs),
            rows=rows,
            own_table=variant.store is not None,
        )
        reference = reference or row
        return replace(
            row,
            ratio_to_predecessor=ratio(row.rows_per_s, reference.rows_per_s),
            cpu_ratio=ratio(reference.cpu_us_per_row, row.cpu_us_per_row),
            memory_ratio=ratio(reference.memory_bytes_per_row, row.memory_bytes_per_row),
        )


def ratio(above: float | None, below: float | None) -> float | None:
    """None where there is nothing to compare."""
    return above / below if above is not None and below else None


def checkpoint(conn: connection) -> None:
    """Write out what is dirty."""
    with conn, conn.cursor() as cursor:
        cursor.execute("CHECKPOINT")


def check_stored(conn: connection, variant: Variant, turn: Turn) -> None:
    """Raise unless every row of the turn can be read back with its vector, bit for bit."""
    column, store = turn.column, variant.store
    if store is None:
        found = stored_vectors(conn, turn, sql.Identifier(column.schema, column.table), column.id, column.vector)
    else:
        found = stored_vectors(conn, turn, sql.Identifier(store.table), store.id, "embedding")
    wrong = int((found != turn.vectors).any(axis=1).sum())
    if wrong:
        raise RuntimeError(f"{variant.name}: {wrong} of {len(turn)} rows of {column} do not have the vector they got.")
