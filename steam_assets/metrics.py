"""A Prometheus endpoint: the figures of store/telemetry.py and the GPUs', asked for when they are scraped. No Dagster.

Runs are processes that come and go, so nothing is counted in memory or pushed: what a run did is in the database.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import psycopg2
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.gpu_metrics import gpu_families
from steam_assets.ports import port_busy, url_of
from steam_assets.row_counts import Counted, RowCounts
from steam_assets.store.runs import EmbeddingRun, column_runs
from steam_assets.store.status import is_initialised
from steam_assets.store.telemetry import AttemptFigures, answer_soon, attempt_figures, quarantined_rows, stage_seconds

PORT = 9464
HOST = "127.0.0.1"
WAIT_FOR_COUNTS_S = 2.0
JOULES_PER_WH = 3600

TOTALS: Mapping[str, tuple[str, Callable[[AttemptFigures], float]]] = {
    "rows_written": ("Vectors written to their rows.", lambda found: found.rows),
    "rows_failed": ("Times that a row could not be embedded, and was quarantined.", lambda found: found.failed_rows),
    "rows_changed": ("Vectors not written, because the text had changed meanwhile.", lambda found: found.changed_rows),
    "tokens": ("Tokens that the model read.", lambda found: found.tokens),
    "truncated_texts": ("Texts longer than the model reads.", lambda found: found.truncated_texts),
    "memory_errors": (
        "Times that the device ran out of memory, and batches became smaller.",
        lambda f: f.memory_errors,
    ),
    "attempt_seconds": ("Seconds that attempts at id ranges lasted.", lambda found: found.seconds),
    "attempt_energy_joules": (
        "What the whole GPU used during attempts, where it says so.",
        lambda found: found.energy_wh * JOULES_PER_WH,
    ),
}
"""Counters per column: name and help, and where the number is. Attempts that run have told nothing yet."""


class DatabaseCollector(Collector):
    """Everything a scrape gets, asked for anew each time; one scrape after the other."""

    def __init__(self, connect: Callable[[], connection], columns: Sequence[TextColumn], counts: RowCounts) -> None:
        self._connect = connect
        self._columns = columns
        self._counts = counts
        self._one_at_a_time = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The families of a scrape; of a database that is away, that it is away."""
        with self._one_at_a_time:
            yield from self._database()
            yield from gpu_families()

    def _database(self) -> Sequence[Metric]:
        up = GaugeMetricFamily("steam_assets_up", "Whether the database answered this scrape.", value=1)
        try:
            with closing(self._connect()) as conn:
                conn.autocommit = True
                answer_soon(conn)
                families = Families()
                if is_initialised(conn):
                    for column in self._columns:
                        families.add_column(conn, column)
        except (psycopg2.Error, SteamAssetsError):
            return [GaugeMetricFamily(up.name, up.documentation, value=0)]
        for column, counted in self._counts.latest(WAIT_FOR_COUNTS_S).items():
            families.add_counts(column, counted)
        return [up, *families.all.values()]


class Families:
    """The metrics of the columns, with their names and what they mean."""

    def __init__(self) -> None:
        self.all: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        self._gauge("column_info", "The model that fills a column, and the run that searches read.", *INFO_LABELS)
        self._gauge("rows", "Rows of a column by state, as of row_counts_age_seconds ago.", "state")
        self._gauge("pending_rows", "Rows that the next run encodes or clears, as of row_counts_age_seconds ago.")
        self._gauge("coverage_ratio", "Embedded rows per embeddable row, as of row_counts_age_seconds ago.")
        self._gauge("row_counts_age_seconds", "How long ago the rows were counted, which takes a scan of the table.")
        self._gauge("quarantined_rows", "Rows on record that cannot be embedded; `steam-assets failures` names them.")
        self._gauge("attempts_running", "Attempts at id ranges that have begun and not ended.")
        self._gauge("last_attempt_timestamp_seconds", "When the last attempt of a status ended.", "status")
        self._counter("attempts", "Attempts at id ranges that have ended, by status.", "status")
        self._counter("stage_seconds", "Seconds that each stage was at work, or waited for another.", "stage")
        for name, (documentation, _) in TOTALS.items():
            self._counter(name, documentation)

    def add_column(self, conn: connection, column: TextColumn) -> None:
        """What the database says of a column at once; nothing before `init` chose its model."""
        runs = column_runs(conn, column)
        if runs.target is None:
            return
        self._add("column_info", 1, column, *info_of(runs.target, runs.serving))
        self._add("quarantined_rows", quarantined_rows(conn, column, runs.target.run_id), column)
        attempts = attempt_figures(conn, column)
        running = attempts.pop("running", None)
        self._add("attempts_running", 0 if running is None else running.attempts, column)
        for status, found in attempts.items():
            self._add("attempts", found.attempts, column, status)
            if found.finished is not None:
                self._add("last_attempt_timestamp_seconds", found.finished, column, status)
        for name, (_, number) in TOTALS.items():
            self._add(name, sum(map(number, attempts.values())), column)
        for stage, seconds in stage_seconds(conn, column).items():
            self._add("stage_seconds", seconds, column, stage)

    def add_counts(self, column: TextColumn, counted: Counted) -> None:
        """What a scan of the column has found."""
        rows = counted.rows
        for state, count in rows.items():
            self._add("rows", count, column, state)
        embeddable = sum(rows.values()) - rows["blank"]
        self._add("pending_rows", rows["stale"] + rows["missing"], column)
        self._add("coverage_ratio", rows["embedded"] / embeddable if embeddable else 1.0, column)
        self._add("row_counts_age_seconds", counted.age_s, column)

    def _gauge(self, name: str, documentation: str, *labels: str) -> None:
        self.all[name] = GaugeMetricFamily(f"steam_assets_{name}", documentation, labels=["column", *labels])

    def _counter(self, name: str, documentation: str, *labels: str) -> None:
        self.all[name] = CounterMetricFamily(f"steam_assets_{name}", documentation, labels=["column", *labels])

    def _add(self, name: str, value: float, column: TextColumn, *labels: str) -> None:
        self.all[name].add_metric([str(column), *labels], value)


INFO_LABELS = ("model", "dimension", "run_id", "serving_run_id")


def info_of(target: EmbeddingRun, serving: EmbeddingRun | None) -> tuple[str, ...]:
    """The values of INFO_LABELS."""
    return target.model_name, str(target.dimension), str(target.run_id), "" if serving is None else str(serving.run_id)


@contextmanager
def metrics_server(
    connect: Callable[[], connection],
    columns: Sequence[TextColumn],
    host: str = HOST,
    port: int = PORT,
    option: str = "--port",
) -> Iterator[str]:
    """Answer scrapes in threads until the block ends; yields the URL. Raises PortBusy where it cannot listen."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(connect, columns, RowCounts(connect, columns)))
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise port_busy(error, host, port, "metrics", option) from None
    try:
        yield f"{url_of(host, server.server_port)}/metrics"
    finally:
        server.shutdown()
        server.server_close()
