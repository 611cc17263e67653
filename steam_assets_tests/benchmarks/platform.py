"""The whole platform with an encoder that takes no time, from launch to the last check event: what it carries itself.

`python -m steam_assets_tests.benchmarks.platform --json platform.json`

Ours is what `steam-assets embed` calls: ranges, Dagster's runs and events in PostgreSQL, assets, IO manager, checks of
every range and column. The predecessor reads pages by key, has them encoded, and writes them; it checks nothing.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.defs.resources import GpuResource
from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model
from steam_assets.id_range import EVERYTHING
from steam_assets.store.states import names, range_state
from steam_assets.targets import target_run
from steam_assets_tests.benchmarks import write_patterns
from steam_assets_tests.benchmarks.corpus import REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.report import markdown_table, shown, write_rows
from steam_assets_tests.benchmarks.rules import PREDECESSOR_CHUNK
from steam_assets_tests.benchmarks.scratch import Connect, scratch_address
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.benchmarks.write_turn import Turn
from steam_assets_tests.hash_encoder import hash_encoder, hash_vectors, vector_pool

MODULE = "steam_assets_tests.benchmarks.platform"
ROWS = 100_000
ROUNDS = 3
REVIEWS_SHARE = 0.75
FEW_ROWS = 8
"""What is left of a run with hardly any rows are its fixed seconds."""
LEAST_ROWS_PER_S = 10_000
MOST_FIXED_S = 3.0
HEADER = ("", "rows", "seconds", "rows/s", "fixed s", "rows/s beside them", "x")

INSERT_REVIEWS = sql.SQL("""
    INSERT INTO reviews (recommendationid, appid, review_text)
    SELECT (20000003 + 7 * n)::text, 10, texts.body || ' ' || n
    FROM generate_series(1, {rows}) AS n
    JOIN texts ON texts.place = n % {texts}
""")
INSERT_APPLICATIONS = sql.SQL("""
    INSERT INTO applications (appid, name)
    SELECT 10 * n, texts.body || ' ' || n
    FROM generate_series(1, {rows}) AS n
    JOIN texts ON texts.place = n % {texts}
""")
NEXT_PAGE = sql.SQL("""
    SELECT {id}, {text}
    FROM {table}
    WHERE {vector} IS NULL
      AND {id} > %s
    ORDER BY {id}
    LIMIT %s
""")


@dataclass(frozen=True)
class PlatformRow:
    """Medians over rounds; ``fixed_s`` are the seconds of a run over hardly any rows, in the same process."""

    name: str
    rows: int
    seconds_median: float
    seconds: Sequence[float]
    rows_per_s: float
    fixed_s: float | None = None
    rows_per_s_beside_fixed: float | None = None
    ratio_to_predecessor: float | None = None
    rounds: int = 0


class HashGpu(GpuResource):
    """Hands out the encoder of hashes for whatever model is asked for."""

    def encoder(self, model: Model) -> Encoder:
        """Without loading anything."""
        return hash_encoder(model)


@dataclass
class Platform:
    """A database of data and one of Dagster's, with texts under new ids; everything in this process finds them."""

    connect: Connect
    rows: int

    def embed(self) -> float:
        """Seconds of `embed`'s own function; raises unless the database says afterwards that all is there."""
        from steam_assets.embed import embed_columns

        started = time.perf_counter()
        outcome = embed_columns(COLUMNS, self.connect, HashGpu(device="cpu"), None, _ignore)
        seconds = time.perf_counter() - started
        if outcome.errors or outcome.red_checks:
            raise RuntimeError(f"not everything went well: {outcome.errors} {outcome.red_checks}")
        self.require_complete()
        return seconds

    def embed_as_the_predecessor(self) -> float:
        """Seconds of its loop over both tables."""
        started = time.perf_counter()
        with closing(self.connect()) as conn:
            for column in COLUMNS:
                run = target_run(conn, column)
                for ids, texts in _pages(conn, column):
                    source = SourceTexts(ids, texts, [0] * len(ids), [bytes(16)] * len(ids))
                    raw = hash_vectors(texts, vector_pool(run.dimension))
                    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
                    write_patterns.predecessor(conn, Turn(column, run.run_id, EVERYTHING, source, vectors))
        return time.perf_counter() - started

    def require_complete(self) -> None:
        """Raise unless every row is embedded."""
        with closing(self.connect()) as conn:
            for column in COLUMNS:
                run = target_run(conn, column)
                state = range_state(conn, column, run.run_id, run.dimension)
                if state.pending or state.failed or not state.embedded:
                    raise RuntimeError(f"{column}: {state}")


def _ignore(_line: str) -> None:
    """Nobody reads it."""


def _pages(conn: connection, column: TextColumn) -> Iterator[tuple[list[int | str], list[str]]]:
    last: int | str = 0 if column.id_type == "bigint" else ""
    while True:
        with conn, conn.cursor() as cursor:
            cursor.execute(NEXT_PAGE.format(**names(column)), (last, PREDECESSOR_CHUNK))
            page = cursor.fetchall()
        if not page:
            return
        last = page[-1][0]
        yield [id_ for id_, _ in page], [text for _, text in page]


@contextmanager
def platform(texts: Mapping[str, Sequence[str]], rows: int) -> Iterator[Platform]:
    """A platform with ``rows`` rows that wait for their vectors, three reviews to each store page."""
    from steam_assets.defs.instance import open_instance
    from steam_assets.initialise import initialise

    with scratch_address() as data, scratch_address() as dagster, tempfile.TemporaryDirectory() as home:
        before = dict(os.environ)
        os.environ |= {"STEAM_ASSETS_DATABASE_URL": data.dsn, "STEAM_ASSETS_DAGSTER_URL": dagster.dsn}
        os.environ |= {"STEAM_ASSETS_HOME": home, "DAGSTER_DISABLE_TELEMETRY": "yes"}
        try:
            from steam_assets.store.database import connect

            with closing(connect(data)) as conn:
                with conn:
                    initialise(conn, COLUMNS, DEMO_MODEL)
                _fill(conn, texts, rows)
            with open_instance():  # its tables are made once in the life of an installation
                yield Platform(lambda: connect(data), rows)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _fill(conn: connection, texts: Mapping[str, Sequence[str]], rows: int) -> None:
    reviews = round(REVIEWS_SHARE * rows)
    wanted = {
        APPLICATIONS.table: (INSERT_APPLICATIONS, rows - reviews),
        REVIEWS.table: (INSERT_REVIEWS, reviews),
    }
    for table, (insert, count) in wanted.items():
        with conn, conn.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE texts (place integer PRIMARY KEY, body text) ON COMMIT DROP")
            execute_values(cursor, "INSERT INTO texts VALUES %s", list(enumerate(texts[table])), page_size=1_000)
            cursor.execute(insert.format(rows=sql.Literal(count), texts=sql.Literal(len(texts[table]))))
    conn.autocommit = True
    with conn.cursor() as cursor:
        for table in wanted:
            cursor.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
    conn.autocommit = False


@dataclass
class Race:
    """Seconds of each round."""

    ours: list[float] = field(default_factory=list)
    predecessor: list[float] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)

    def run(self, texts: Mapping[str, Sequence[str]], rows: int, rounds: int) -> None:
        """Ours, the predecessor, and a run of hardly any rows, in turn, each on a platform of its own."""
        for number in range(1, rounds + 1):
            with platform(texts, FEW_ROWS) as few:
                self.fixed.append(few.embed())
            with platform(texts, rows) as theirs:
                self.predecessor.append(theirs.embed_as_the_predecessor())
            with platform(texts, rows) as ours:
                self.ours.append(ours.embed())
            found = (
                f"fixed {self.fixed[-1]:.2f} s, predecessor {self.predecessor[-1]:.2f} s, ours {self.ours[-1]:.2f} s"
            )
            print(f"round {number}: {found}", file=sys.stderr, flush=True)

    def rows(self, rows: int) -> list[PlatformRow]:
        """What came of it."""
        theirs, ours, fixed = (median(found) for found in (self.predecessor, self.ours, self.fixed))
        rounds = len(self.ours)
        return [
            PlatformRow("predecessor", rows, theirs, self.predecessor, rows / theirs, None, None, 1.0, rounds),
            PlatformRow(
                *(
                    "ours",
                    rows,
                    ours,
                    self.ours,
                    rows / ours,
                    fixed,
                    rows / max(ours - fixed, 1e-9),
                    theirs / ours,
                    rounds,
                )
            ),
        ]


def targets(ours: PlatformRow) -> list[Target]:
    """What was promised of the platform."""
    place, corpus = "2 cores", "both tables"
    rate, fixed = ours.rows_per_s_beside_fixed, ours.fixed_s
    what = f"rows/s beside the fixed seconds >= {LEAST_ROWS_PER_S:,}"
    return [
        compared(place, corpus, what, rate, least=LEAST_ROWS_PER_S, form=",.0f"),
        compared(place, corpus, f"fixed seconds <= {MOST_FIXED_S:g}", fixed, most=MOST_FIXED_S),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds, print the table and what came of the targets, write the JSON."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="pending rows of both tables together")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)

    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    corpora = read_corpora((REVIEWS.table, APPLICATIONS.table), data=options.data)
    find_model(DEMO_MODEL)  # its weights' digest is computed once in a process
    race = Race()
    race.run({corpus.name: corpus.stored for corpus in corpora}, options.rows, options.rounds)
    rows = race.rows(options.rows)
    print()
    print(markdown_table(HEADER, [_cells(row) for row in rows]))
    print(f"\ntexts: {', '.join(f'{corpus.name} ({corpus.source})' for corpus in corpora)}\n")
    print(targets_table(targets(rows[-1])))
    if options.json is not None:
        command = f"python -m {MODULE} {shlex.join(given)}"
        sources = {corpus.name: corpus.source for corpus in corpora}
        write_rows(options.json, machine, command, rows, {"texts": sources})


def _cells(row: PlatformRow) -> list[str]:
    return [
        row.name,
        f"{row.rows:,}",
        f"{row.seconds_median:.2f}",
        f"{row.rows_per_s:,.0f}",
        shown(row.fixed_s, ".2f"),
        shown(row.rows_per_s_beside_fixed, ",.0f"),
        shown(row.ratio_to_predecessor, ".2f"),
    ]


if __name__ == "__main__":
    main()
