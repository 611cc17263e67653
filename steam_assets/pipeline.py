"""Where the encoder and the store meet: embeddings of id ranges, produced while they are consumed. No Dagster."""

import gc
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version

import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.batching import MemoryEvent
from steam_assets.encoder.encoder import Encoder, Work, first_line
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import MonitorSummary, SystemMonitor
from steam_assets.encoder.precision import PrecisionReport
from steam_assets.encoder.preparation import find_preparation
from steam_assets.gate import check_precision
from steam_assets.id_range import IdRange
from steam_assets.progress import Progress, report
from steam_assets.stages import encoded
from steam_assets.store.database import DatabaseUnavailable, is_connection_lost
from steam_assets.store.embedded_room import full_disk
from steam_assets.store.read import read_pending, sample_texts
from steam_assets.store.runs import EmbeddingRun, RangeStatus, finish_range, start_range
from steam_assets.store.server import check_rights, check_writable
from steam_assets.store.session import RunSession
from steam_assets.store.write import WriteCounts, write_batches
from steam_assets.targets import model_to_fill, target_run
from steam_assets.upkeep import DEFAULTS, FillOptions

logger = logging.getLogger(__name__)

SAMPLE_TEXTS = 512
LOG_EVERY_S = 10.0
LOSSES_WITHOUT_PROGRESS = 5
"""Lost connections in a row without a commit between them: waiting for the server does not help."""


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
    options: FillOptions = DEFAULTS
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
    options: FillOptions = DEFAULTS,
) -> EmbeddingStream:
    """The stream that fills ``id_ranges`` with vectors of the column's target run.

    Raises PrecisionRefused when the encoder's vectors are too far from what fp32 gives.
    """
    with closing(connect()) as conn:
        run = target_run(conn, column)
        check_writable(conn)
        check_rights(conn, column)
    encoder = load(model_to_fill(run, column))
    keep_what_is_loaded()
    precision = check_precision(encoder, lambda: sample_of(connect, column), str(column))
    return EmbeddingStream(column, id_ranges, run, encoder, connect, options, precision)


@cache
def keep_what_is_loaded() -> None:
    """Leave torch's and Dagster's objects out of garbage collection, once a process.

    Reading 33,000 rows starts a full one, which takes 0.3 s with them and stops every stage: half of the time of
    reading 300,000 reviews.
    """
    gc.freeze()


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
    session: RunSession,
    stream: EmbeddingStream,
    id_range: IdRange,
    monitor: SystemMonitor,
    log: Callable[[str], None],
    limit: int | None = None,
) -> RangeReport:
    """Encode and write a range's pending rows, at most ``limit``, and record the attempt whatever becomes of it.

    Commits as it goes, and goes on from the last commit when the server restarts. An error or an interrupt leaves what
    was committed, and a record that says failed or aborted. Raises RangeTaken when another run fills the range.
    """
    column, encoder = stream.column, stream.encoder
    with session.range_lock(column, id_range.key):
        range_id = session.transact(
            lambda conn: start_range(
                conn,
                column,
                stream.run.run_id,
                id_range.key,
                session.dagster_run_id,
                encoder.backend.device_name,
                encoder.backend.dtype,
                library_versions(),
            )
        )
        attempt = _Attempt(stream, id_range, monitor, log)
        try:
            with monitor:
                _fill(session, attempt, limit)
        except BaseException as error:
            # An interrupt is no Exception; it too has to leave a record. Where the connection is gone there can be
            # none, and the range stays "running" until somebody sees that its lock is free.
            with suppress(psycopg2.Error):
                session.conn.rollback()
                status: RangeStatus = "failed" if isinstance(error, Exception) else "aborted"
                said = f"{type(error).__name__}: {error}"
                with session.conn as conn:
                    record_range(conn, range_id, status, attempt.report(), stream, said)
            raise
        done = attempt.report()
        session.transact(lambda conn: record_range(conn, range_id, "done", done, stream))
    return done


def _fill(session: RunSession, attempt: "_Attempt", limit: int | None) -> None:
    """Read, encode and write until nothing of the range is pending, over again where a connection is lost."""
    stream, id_range, counts = attempt.stream, attempt.id_range, attempt.counts
    losses, handled = 0, -1
    while True:
        remaining = None if limit is None else limit - counts.handled
        try:
            with closing(stream.batches(id_range, remaining)) as batches:
                write_batches(
                    session.conn,
                    stream.column,
                    stream.run.run_id,
                    id_range,
                    batches,
                    attempt.on_commit,
                    counts,
                    stream.options.max_failed_percent / 100,
                )
        except (psycopg2.Error, DatabaseUnavailable) as error:
            found = real_error(error)
            losses = 1 if counts.handled > handled else losses + 1
            if isinstance(found, psycopg2.Error) and (full := full_disk(found)) is not None:
                raise full from found
            if not is_connection_lost(found) or losses > LOSSES_WITHOUT_PROGRESS:
                raise found from None
            handled = counts.handled
            lost = f"The database went away ({first_line(found)}); waiting for it."
            logger.warning("%s %s: %s", stream.column, id_range.key, lost)
            attempt.monitor.note(lost)
            session.reconnect()
        else:
            return


def real_error(error: Exception) -> Exception:
    """Why a connection died: `with conn` raises an InterfaceError of its rollback over the error that says it."""
    if isinstance(error, psycopg2.InterfaceError) and isinstance(error.__context__, psycopg2.Error):
        return error.__context__
    return error


class _Attempt:
    """What an attempt at a range has come to so far, told to the progress bar, the monitor and the log."""

    def __init__(
        self, stream: EmbeddingStream, id_range: IdRange, monitor: SystemMonitor, log: Callable[[str], None]
    ) -> None:
        self.stream, self.id_range, self.monitor = stream, id_range, monitor
        self.counts = WriteCounts()
        self._log = log
        self._encoder = stream.encoder
        self._encoder.backend.reset_peak_memory()
        self._started = self._logged = time.monotonic()
        self._work_before, self._errors_before = self._encoder.work, self._encoder.memory_errors
        self._reported = self._errors_told = 0

    def on_commit(self, counts: WriteCounts) -> None:
        """Tell how far it is."""
        events = self._memory_events()
        for event in events[self._errors_told :]:
            self.monitor.note(str(event))
        self._errors_told = len(events)
        report(Progress(str(self.stream.column), counts.handled - self._reported, self.monitor.stats_line()))
        self._reported = counts.handled
        if time.monotonic() - self._logged >= LOG_EVERY_S:
            self._logged = time.monotonic()
            rows_per_s = counts.handled / (self._logged - self._started)
            self._log(f"{self.stream.column} {self.id_range.key}: {counts.handled} rows, {rows_per_s:.1f} rows/s")

    def report(self) -> RangeReport:
        """Everything so far."""
        return RangeReport(
            counts=self.counts,
            seconds=max(time.monotonic() - self._started, 1e-9),
            monitor=self.monitor.summary(),
            work=self._encoder.work.since(self._work_before),
            memory_events=self._memory_events(),
            peak_memory_bytes=self._encoder.backend.peak_memory_bytes(),
        )

    def _memory_events(self) -> list[MemoryEvent]:
        errors = self._encoder.memory_errors - self._errors_before
        return list(self._encoder.memory_events)[-errors:] if errors else []


@cache
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
    """Finish a range's record with what it came to. Does not commit."""
    counts, monitor = outcome.counts, outcome.monitor
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
