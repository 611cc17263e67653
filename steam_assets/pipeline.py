"""Where the encoder and the store meet: embeddings of id ranges, produced while they are consumed. No Dagster."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import MonitorSummary, SystemMonitor
from steam_assets.encoder.preparation import find_preparation
from steam_assets.encoder.transformer import Encoder
from steam_assets.id_range import IdRange
from steam_assets.prefetch import prefetch
from steam_assets.progress import Progress, report
from steam_assets.store.read import read_pending
from steam_assets.store.runs import EmbeddingRun, RangeStatus, finish_range, start_range
from steam_assets.store.write import WriteCounts, write_batches
from steam_assets.targets import model_of, target_run

PAGES_AHEAD = 1
BATCHES_AHEAD = 4
LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class EmbeddingStream:
    """The embeddings of pending rows of some ranges; nothing is read before someone iterates, and each time anew."""

    column: TextColumn
    id_ranges: Sequence[IdRange]
    run: EmbeddingRun
    encoder: Encoder
    connect: Callable[[], connection]
    limit: int | None = None

    def batches(self, id_range: IdRange, limit: int | None = None) -> Generator[EncodedBatch]:
        """One range's batches; a thread reads and a thread encodes while the caller writes."""
        preparation = find_preparation(self.column.preparation)
        with (
            closing(prefetch(self._pages(id_range, limit), PAGES_AHEAD, "reader")) as pages,
            closing(prefetch(self.encoder.embed(pages, preparation), BATCHES_AHEAD, "encoder")) as batches,
        ):
            yield from batches

    def _pages(self, id_range: IdRange, limit: int | None) -> Iterator[SourceTexts]:
        with closing(self.connect()) as conn:
            conn.autocommit = True
            yield from read_pending(conn, self.column, self.run.run_id, id_range, limit)


def open_stream(
    column: TextColumn,
    id_ranges: Sequence[IdRange],
    load: Callable[[Model], Encoder],
    connect: Callable[[], connection],
    limit: int | None = None,
) -> EmbeddingStream:
    """The stream that fills ``id_ranges`` with vectors of the column's target run, at most ``limit`` of them."""
    with closing(connect()) as conn:
        run = target_run(conn, column)
    return EmbeddingStream(column, id_ranges, run, load(model_of(run, column)), connect, limit)


@dataclass(frozen=True)
class RangeReport:
    """What an attempt at a range came to; the same numbers stand in embedding_run_ranges."""

    counts: WriteCounts
    seconds: float
    monitor: MonitorSummary
    memory_errors: int
    peak_memory_bytes: int | None

    @property
    def rows_per_s(self) -> float:
        """Rows encoded per second, reading and writing included."""
        return self.counts.handled / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens the model read per second, reading and writing included."""
        return self.counts.tokens / self.seconds


def fill_range(
    conn: connection,
    stream: EmbeddingStream,
    id_range: IdRange,
    monitor: SystemMonitor,
    dagster_run_id: str,
    log: Callable[[str], None],
    limit: int | None = None,
) -> RangeReport:
    """Encode and write a range's pending rows, at most ``limit``, and record the attempt whatever becomes of it.

    Commits as it goes. An error or an interrupt leaves what was committed, and a record that says failed or aborted.
    """
    column, encoder = stream.column, stream.encoder
    with conn:
        range_id = start_range(
            conn,
            column,
            stream.run.run_id,
            id_range.key,
            dagster_run_id,
            encoder.device_name,
            encoder.dtype,
            library_versions(),
        )
    encoder.reset_peak_memory()
    started = logged = time.monotonic()
    errors_before = encoder.memory_errors
    counts = WriteCounts()
    reported = 0

    def on_commit(so_far: WriteCounts) -> None:
        nonlocal counts, reported, logged
        counts = so_far
        report(Progress(str(column), counts.handled - reported, monitor.stats_line()))
        reported = counts.handled
        if time.monotonic() - logged >= LOG_EVERY_S:
            logged = time.monotonic()
            log(f"{column} {id_range.key}: {counts.handled} rows, {counts.handled / (logged - started):.1f} rows/s")

    def outcome() -> RangeReport:
        return RangeReport(
            counts=counts,
            seconds=max(time.monotonic() - started, 1e-9),
            monitor=monitor.summary(),
            memory_errors=encoder.memory_errors - errors_before,
            peak_memory_bytes=encoder.peak_memory_bytes(),
        )

    try:
        with monitor, closing(stream.batches(id_range, limit)) as batches:
            write_batches(conn, column, stream.run.run_id, id_range, batches, on_commit)
    except BaseException as error:
        # An interrupt is no Exception; it too has to leave a record. Where the connection is gone there can be none,
        # and the range stays "running" until somebody sees that its lock is free.
        with suppress(psycopg2.Error):
            conn.rollback()
            status: RangeStatus = "failed" if isinstance(error, Exception) else "aborted"
            record_range(conn, range_id, status, outcome(), encoder, f"{type(error).__name__}: {error}")
        if isinstance(error, psycopg2.InterfaceError) and isinstance(error.__context__, psycopg2.Error):
            # The connection died inside `with conn`, whose rollback then raised over the error that says why.
            raise error.__context__ from None
        raise
    done = outcome()
    record_range(conn, range_id, "done", done, encoder)
    return done


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """What computed a range's vectors, for its record: versions are no part of a run's identity."""
    return {name: version(name) for name in ("steam-assets", "torch", "transformers", "sentence-transformers")}


def record_range(
    conn: connection,
    range_id: int,
    status: RangeStatus,
    outcome: RangeReport,
    encoder: Encoder,
    error: str | None = None,
) -> None:
    """Finish a range's record with what it came to, and commit."""
    counts, monitor = outcome.counts, outcome.monitor
    with conn:
        finish_range(
            conn,
            range_id,
            status,
            error=error,
            rows_written=counts.written,
            rows_changed=counts.changed,
            rows_gone=counts.gone,
            rows_failed=counts.failed,
            rows_blank=counts.empty + counts.cleared,
            tokens=counts.tokens,
            truncated=counts.truncated,
            seconds=outcome.seconds,
            rows_per_s=outcome.rows_per_s,
            tokens_per_s=outcome.tokens_per_s,
            peak_memory_bytes=outcome.peak_memory_bytes,
            gpu_util_mean=monitor.gpu_util_percent_mean,
            gpu_util_peak=monitor.gpu_util_percent_peak,
            memory_errors=outcome.memory_errors,
            batch_tokens=encoder.budget.tokens,
        )
