"""Ours with PostgreSQL at both ends: rows in a scratch database of the embedded server, read, encoded and committed."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from steam_assets.columns import TextColumn
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.id_range import IdRange
from steam_assets_tests.benchmarks.scratch import scratch_database
from steam_assets_tests.benchmarks.variants import Measurement, Ours, Skipped
from steam_assets_tests.benchmarks.watch import Watch
from steam_assets_tests.benchmarks.workload import Workload

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from steam_assets.store.runs import EmbeddingRun

PASS_STEP = 10_000_000
"""Ids of a pass begin here times its number: each pass is a range, and no text is met again within one."""
INSERTED_ROWS = 1_000


@dataclass
class EndToEnd:
    """The pipeline as it runs for users, with the encoder that ``choose`` names."""

    choose: Callable[[], Ours]
    name: str = "ours end to end"
    chosen: Ours | None = field(default=None, repr=False)

    def load(self, workload: Workload) -> None:
        """Choose an encoder, and start the server."""
        try:
            from steam_assets.settings import make_home
            from steam_assets.store import embedded
        except ImportError as error:
            raise Skipped(f"no PostgreSQL here: {error}") from None
        if self.chosen is None:
            embedded.start(make_home("postgres"))
            self.chosen = self.choose()
        self.chosen.load(workload)

    def embed(self, workload: Workload) -> Measurement:
        """Fill a column of a new database, one range a pass; the vectors are what can be read back afterwards."""
        assert self.chosen is not None
        from steam_assets.pipeline import fill_range
        from steam_assets.store.session import RunSession
        from steam_assets.stream import EmbeddingStream

        encoder = self.chosen.encoder
        device = self.chosen.settings.device
        column = TextColumn("texts", "id", "body", "embedding", preparation=workload.corpus.preparation.name)
        work, errors = encoder.work, encoder.memory_errors
        with scratch_database() as connect, closing(connect()) as conn:
            run = fill_table(conn, column, workload, self.chosen)
            ranges = [IdRange(start, start + PASS_STEP) for start in range(0, workload.passes * PASS_STEP, PASS_STEP)]
            stream = EmbeddingStream(column, ranges, run, encoder, connect)
            with RunSession(connect, "benchmark") as session, Watch(device) as watch:
                for id_range in ranges:
                    fill_range(session, stream, id_range, SystemMonitor(device, _ignore), _ignore)
            vectors = read_vectors(conn, column, len(workload.corpus), encoder.model.dimension)
        return Measurement(
            watch.seconds,
            vectors,
            encoder.work.since(work),
            encoder.backend.dtype,
            watch.peak_bytes + self.chosen.weights_bytes,
            watch.gpu_busy_percent,
            encoder.memory_errors - errors,
        )

    def release(self) -> None:
        """Forget the encoder."""
        if self.chosen is not None:
            self.chosen.release()


def _ignore(_line: str) -> None:
    """Neither log lines nor statistics are wanted."""


def fill_table(conn: "connection", column: TextColumn, workload: Workload, ours: Ours) -> "EmbeddingRun":
    """The column's table with the rows of all passes and this model to fill it with; committed."""
    from psycopg2 import sql
    from psycopg2.extras import execute_values

    from steam_assets.store.schema import apply_schema, plan_schema
    from steam_assets.targets import choose_first_model

    table, id_, text = (sql.Identifier(name) for name in (column.table, column.id, column.text))
    rows = (
        (number * PASS_STEP + place, stored)
        for number in range(workload.passes)
        for place, stored in enumerate(workload.corpus.stored)
    )
    with conn, conn.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE TABLE {} ({} bigint PRIMARY KEY, {} text)").format(table, id_, text))
        execute_values(cursor, sql.SQL("INSERT INTO {} VALUES %s").format(table), rows, page_size=INSERTED_ROWS)
        apply_schema(conn, plan_schema(conn, [column], ours.model.dimension))
        run = choose_first_model(conn, column, ours.model)
        cursor.execute(sql.SQL("ANALYZE {}").format(table))
    return run


def read_vectors(conn: "connection", column: TextColumn, rows: int, dimension: int) -> Vectors:
    """The vectors of the first pass as they are in the table, NaN where there is none."""
    from psycopg2 import sql

    query = sql.SQL("SELECT {id}, {vector}::text FROM {table} WHERE {id} < %s AND {vector} IS NOT NULL").format(
        id=sql.Identifier(column.id), vector=sql.Identifier(column.vector), table=sql.Identifier(column.table)
    )
    found = np.full((rows, dimension), np.nan, dtype=np.float32)
    with conn, conn.cursor() as cursor:
        cursor.execute(query, (rows,))
        for place, vector in cursor:
            found[place] = np.fromstring(vector.strip("[]"), dtype=np.float32, sep=",")
    return found
