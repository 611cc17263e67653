"""Where the encoder and the store meet: embeddings of id ranges, produced while they are consumed. No Dagster."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version

import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.batching import MemoryEvent
from steam_assets.encoder.encoder import Encoder, Work
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import MonitorSummary, SystemMonitor
from steam_assets.encoder.precision import PrecisionReport
from steam_assets.encoder.preparation import find_preparation
from steam_assets.gate import check_precision
from steam_assets.id_range import IdRange
from steam_assets.progress import Progress, report
from steam_assets.stages import encoded
from steam_assets.store.read import read_pending, sample_texts
from steam_assets.store.runs import EmbeddingRun, RangeStatus, finish_range, start_range
from steam_assets.store.write import WriteCounts, write_batches
from steam_assets.targets import model_to_fill, target_run

SAMPLE_TEXTS = 512
LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class EmbeddingStream:
    """The embeddings of pending rows of some ranges; nothing is read before someone iterates, and each time anew.

    ``precision`` is how near the encoder's vectors are to fp32; None where they are fp32 themselves.
    """

    column: TextColumn
    id_ranges: Sequence[IdRange]
    run: EmbeddingRun
    encoder: Encoder
    connect: Callable[[], connection]
    limit: int | None = None
    precision: PrecisionReport | None = None

    def batches(self, id_range: IdRange, limit: int | None = None) -> Generator[EncodedBatch]:
        """One range's batches: threads read, tokenize and encode while the caller writes."""
        preparation = find_preparation(self.column.preparation)
        yield from encoded(self._pages(id_range, limit), self.encoder, preparation)

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
    """The stream that fills ``id_ranges`` with vectors of the column's target run, at most ``limit`` of them.

    Raises PrecisionRefused when the encoder's vectors are too far from what fp32 gives.
    """
    with closing(connect()) as conn:
        run = target_run(conn, column)
    encoder = load(model_to_fill(run, column))
    precision = check_precision(encoder, lambda: sample_of(connect, column), str(column))
    return EmbeddingStream(column, id_ranges, run, encoder, connect, limit, precision)


def sample_of(connect: Callable[[], connection], column: TextColumn) -> list[str]:
    """Texts of the column, prepared, the same ones each time."""
    prepare = find_preparation(column.preparation).prepare
    with closing(connect()) as conn:
        conn.autocommit = True
        return [prepare(text) for text in sample_texts(conn, column, SAMPLE_TEXTS)]


@dataclass(frozen=True)
class RangeReport:
    """What an attempt at a range came to; the same numbers stand in embedding_run_ranges."""

    counts: WriteCounts
    seconds: float
    monitor: MonitorSummary
    work: Work
    memory_events: Sequence[MemoryEvent]
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
            encoder.backend.device_name,
            encoder.backend.dtype,
            library_versions(),
        )
    encoder.backend.reset_peak_memory()
    started = logged = time.monotonic()
    work_before, errors_before = encoder.work, encoder.memory_errors
    counts = WriteCounts()
    reported = errors_told = 0

    def memory_events() -> list[MemoryEvent]:
        errors = encoder.memory_errors - errors_before
        return list(encoder.memory_events)[-errors:] if errors else []

    def on_commit(so_far: WriteCounts) -> None:
        nonlocal counts, reported, logged, errors_told
        counts = so_far
        events = memory_events()
        for event in events[errors_told:]:
            monitor.note(str(event))
        errors_told = len(events)
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
            work=encoder.work.since(work_before),
            memory_events=memory_events(),
            peak_memory_bytes=encoder.backend.peak_memory_bytes(),
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
            record_range(conn, range_id, status, outcome(), stream, f"{type(error).__name__}: {error}")
        if isinstance(error, psycopg2.InterfaceError) and isinstance(error.__context__, psycopg2.Error):
            # The connection died inside `with conn`, whose rollback then raised over the error that says why.
            raise error.__context__ from None
        raise
    done = outcome()
    record_range(conn, range_id, "done", done, stream)
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
    stream: EmbeddingStream,
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
            memory_errors=len(outcome.memory_events),
            batch_tokens=stream.encoder.budget.tokens,
            details=range_details(stream, outcome),
        )


def range_details(stream: EmbeddingStream, outcome: RangeReport) -> dict[str, object]:
    """How the vectors of a range were computed, beyond its numbers."""
    backend, work = stream.encoder.backend, outcome.work
    return {
        "backend": backend.name,
        "padded": backend.packing.padded,
        "forwards": work.forwards,
        "padded_tokens": work.padded_tokens,
        "memory_events": [asdict(event) for event in outcome.memory_events],
        "precision": None if stream.precision is None else stream.precision.as_dict(),
    }
