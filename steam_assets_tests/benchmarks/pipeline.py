"""Reading, encoding and writing at once, beside one after the other, with an encoder of a known speed.

`python -m steam_assets_tests.benchmarks.pipeline --json pipeline.json --plot pipeline.png`
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from psycopg2 import sql

from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.id_range import IdRange
from steam_assets.pipeline import fill_range
from steam_assets.store.runs import get_run
from steam_assets.store.session import RunSession
from steam_assets.store.states import in_range, names
from steam_assets.stream import EmbeddingStream, keep_what_is_loaded
from steam_assets_tests.benchmarks import write_patterns
from steam_assets_tests.benchmarks.corpus import REAL_ROWS
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.plots import plot_pipeline, require_matplotlib
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.scratch import Connect, scratch_database, server_settings
from steam_assets_tests.benchmarks.tables import SHAPES, FreshRows, make_table, read_texts
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.benchmarks.write_turn import Turn
from steam_assets_tests.hash_encoder import HashBackend, OneToken

MODULE = "steam_assets_tests.benchmarks.pipeline"
RATES = (60.0, 1_000.0, 4_000.0, None)
"""Rows a second of the encoder; None is one that takes no time."""
SECONDS = 4.0
"""How long an encoder alone would take for the rows of a turn of ours."""
PREDECESSOR_SHARE = 4
"""The predecessor gets a quarter of the rows: its rate is what is compared."""
UNLIMITED_ROWS = 30_000
ROUNDS = 3
DIMENSION = 1_024
PAGE_ROWS = 1_000
"""The predecessor's page here; with its 10,000 an encoder of 60 rows/s would take minutes for one page."""
PACKS_PER_S = 8
LEAST_BUSY = 0.95
LEAST_RATIO = {"reviews": 10.0, "applications": 8.0}
HEADER = ("", "encoder rows/s", "rows/s", "encoder busy", "x")

NEXT_PAGE = sql.SQL("""
    SELECT t.{id}, t.{text}
    FROM {table} AS t
    WHERE {in_range}
      AND t.{vector} IS NULL
    ORDER BY t.{id}
    LIMIT {rows}
""")


@dataclass(frozen=True)
class PipelineRow:
    """Medians over rounds: rows/s from the first read to the last commit, and the encoder's share of that time."""

    name: str
    shape: str
    encoder_rows_per_s: float | None
    rows_per_s: float
    busy_share: float
    rows: int
    rounds: int
    ratio_to_predecessor: float


@dataclass(frozen=True)
class Lap:
    """One turn: seconds in all, and those in which the encoder worked."""

    seconds: float
    busy_s: float


class IdleBackend(HashBackend):
    """Leaves the processor alone, as a GPU does: hashing 6 KB took 34 microseconds, a third of our own work."""

    def vectors_of(self, texts: Sequence[str]) -> Vectors:
        """Made-up vectors, whatever the texts."""
        return self._pool[: len(texts)]


def encoder_of(rate: float | None) -> tuple[Encoder, HashBackend]:
    """An encoder that waits at this rate, in packs of which several make a second."""
    model = Model("made-up", "sha256:0", "", DIMENSION, 512, "mean")
    pack = 500 if rate is None else int(np.clip(rate / PACKS_PER_S, 4, 500))
    backend = IdleBackend(DIMENSION, rate, pack)
    return Encoder(model, OneToken(), backend), backend


def ours(connect: Connect, table: FreshRows, id_range: IdRange, rate: float | None) -> Lap:
    """The product's pipeline over one range."""
    encoder, backend = encoder_of(rate)
    with closing(connect()) as conn:
        run = get_run(conn, table.run_id)
    # Texts as they are: taking store pages out of their HTML is no part of what is compared here.
    column = replace(table.column, preparation="plain")
    stream = EmbeddingStream(column, [id_range], run, encoder, connect)
    monitor = SystemMonitor("cpu", _ignore)
    with RunSession(connect, "benchmark") as session:
        started = time.perf_counter()
        fill_range(session, stream, id_range, monitor, _ignore)
        return Lap(time.perf_counter() - started, backend.busy_s)


def predecessor(connect: Connect, table: FreshRows, id_range: IdRange, rate: float | None) -> Lap:
    """A page is read, encoded and written, then the next."""
    encoder, backend = encoder_of(rate)
    with closing(connect()) as conn:
        started = time.perf_counter()
        while True:
            page = NEXT_PAGE.format(
                **names(table.column), in_range=in_range(table.column, id_range), rows=sql.Literal(PAGE_ROWS)
            )
            with conn, conn.cursor() as cursor:
                cursor.execute(page)
                found = cursor.fetchall()
            if not found:
                return Lap(time.perf_counter() - started, backend.busy_s)
            ids, texts = [id_ for id_, _ in found], [text for _, text in found]
            vectors = encoder.encode(texts)
            source = SourceTexts(ids, texts, [0] * len(ids), [bytes(16)] * len(ids))
            write_patterns.predecessor(conn, Turn(table.column, table.run_id, id_range, source, vectors))


def _ignore(_line: str) -> None:
    """Nobody reads it."""


WAYS = {"predecessor": predecessor, "ours": ours}


def rows_of(name: str, rate: float | None) -> int:
    """Of a turn."""
    rows = UNLIMITED_ROWS if rate is None else int(rate * SECONDS)
    return rows // PREDECESSOR_SHARE if name == "predecessor" else rows


def measure(shape_name: str, rates: Sequence[float | None], rounds: int, data: Path) -> Iterator[PipelineRow]:
    """Every rate and way on fresh rows of one table, in turn."""
    shape = SHAPES[shape_name]
    corpus = read_texts(shape, data)
    total = rounds * sum(rows_of(name, rate) for name in WAYS for rate in rates)
    with scratch_database() as connect, closing(connect()) as conn:
        table = make_table(conn, shape, total, DIMENSION, corpus.stored)
        laps: dict[tuple[str, float | None], list[Lap]] = {(name, rate): [] for name in WAYS for rate in rates}
        for number in range(rounds):
            for rate in rates:
                for name in WAYS if number % 2 == 0 else reversed(WAYS):
                    rows = rows_of(name, rate)
                    id_range = IdRange(table.ids[table.taken], table.ids[table.taken + rows])
                    table.taken += rows
                    lap = WAYS[name](connect, table, id_range, rate)
                    laps[name, rate].append(lap)
                    said = f"{name} at {rate or 'any'} rows/s: {rows / lap.seconds:,.0f} rows/s"
                    print(f"round {number + 1}, {shape_name}, {said}", file=sys.stderr, flush=True)
    for rate in rates:
        for name in WAYS:
            found = laps[name, rate]
            rows_per_s = rows_of(name, rate) / median(lap.seconds for lap in found)
            busy = median(lap.busy_s / lap.seconds for lap in found)
            theirs = rows_of("predecessor", rate) / median(lap.seconds for lap in laps["predecessor", rate])
            rows = rows_of(name, rate)
            yield PipelineRow(name, shape_name, rate, rows_per_s, busy, rows, rounds, rows_per_s / theirs)


def targets(rows: Sequence[PipelineRow]) -> Iterator[Target]:
    """What was promised of the pipeline."""
    fastest = max(rate for rate in RATES if rate is not None)
    for row in rows:
        if row.name == "ours" and row.encoder_rows_per_s is None:
            least = LEAST_RATIO[row.shape]
            what = f"an encoder that takes no time >= {least:g}x"
            yield compared("2 cores", row.shape, what, row.ratio_to_predecessor, least=least)
        elif row.name == "ours" and row.encoder_rows_per_s == fastest:
            what = f"encoder of {fastest:,.0f} rows/s busy >= {LEAST_BUSY:.0%}"
            yield compared("2 cores", row.shape, what, row.busy_share, least=LEAST_BUSY, form=".1%")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds, print the tables and what came of the targets, write the JSON and the plot."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rates", type=float, nargs="+", help="rows a second of the encoder; 0 is as fast as it goes")
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(given)
    if options.plot is not None:
        require_matplotlib()
    keep_what_is_loaded()  # as whoever opens a stream does
    rates = RATES if options.rates is None else [rate or None for rate in options.rates]

    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    rows: list[PipelineRow] = []
    for shape in SHAPES if options.shape == "all" else [options.shape]:
        found = list(measure(shape, rates, options.rounds, options.data))
        rows += found
        print(f"\n{shape}, {DIMENSION:,} numbers a vector\n")
        print(markdown_table(HEADER, [_cells(row) for row in found]))
    if checked := list(targets(rows)):
        print(f"\n{targets_table(checked)}")
    with scratch_database() as connect, closing(connect()) as conn:
        server = server_settings(conn)
    if options.json is not None:
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", rows, {"server": server})
    if options.plot is not None:
        plot_pipeline(options.plot, rows)


def _cells(row: PipelineRow) -> list[str]:
    rate = "any" if row.encoder_rows_per_s is None else f"{row.encoder_rows_per_s:,.0f}"
    return [row.name, rate, f"{row.rows_per_s:,.0f}", f"{row.busy_share:.1%}", f"{row.ratio_to_predecessor:.2f}"]


if __name__ == "__main__":
    main()
