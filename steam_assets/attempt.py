"""What an attempt at a range comes to: told while it runs, reported at its end, and kept in embedding_run_ranges."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version

from psycopg2.extensions import connection

from steam_assets.encoder.batching import MemoryEvent
from steam_assets.encoder.encoder import Work
from steam_assets.encoder.monitor import MonitorSummary, SystemMonitor
from steam_assets.id_range import IdRange
from steam_assets.progress import Progress, report
from steam_assets.stages import StageSeconds
from steam_assets.store.runs import RangeStatus, finish_range
from steam_assets.store.write import WriteCounts
from steam_assets.stream import EmbeddingStream

LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class RangeReport:
    """What an attempt at a range came to; the same numbers stand in embedding_run_ranges."""

    counts: WriteCounts
    seconds: float
    monitor: MonitorSummary
    work: Work
    memory_events: Sequence[MemoryEvent]
    peak_memory_bytes: int | None
    stages: StageSeconds

    @property
    def rows_per_s(self) -> float:
        """Rows encoded per second, reading and writing included."""
        return self.counts.handled / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens the model read per second, reading and writing included."""
        return self.counts.tokens / self.seconds

    @property
    def wh_per_1000_rows(self) -> float | None:
        """What the whole device used for a thousand rows; None where it does not say, or nothing was encoded."""
        used, rows = self.monitor.gpu_energy_wh, self.counts.handled
        return None if used is None or not rows else 1000 * used / rows


class Attempt:
    """What an attempt at a range has come to so far, told to the progress bar, the monitor and the log."""

    def __init__(
        self, stream: EmbeddingStream, id_range: IdRange, monitor: SystemMonitor, log: Callable[[str], None]
    ) -> None:
        self.stream, self.id_range, self.monitor = replace(stream, stages=StageSeconds()), id_range, monitor
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
            self._log(
                f"{self.stream.column} {self.id_range.key}: {counts.handled} rows, {rows_per_s:.1f} rows/s | "
                f"{self.monitor.stats_line()}"
            )

    def report(self) -> RangeReport:
        """Everything so far."""
        return RangeReport(
            counts=self.counts,
            seconds=max(time.monotonic() - self._started, 1e-9),
            monitor=self.monitor.summary(),
            work=self._encoder.work.since(self._work_before),
            memory_events=self._memory_events(),
            peak_memory_bytes=self._encoder.backend.peak_memory_bytes(),
            stages=self.stream.stages,
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
        "stage_seconds": {name: round(seconds, 3) for name, seconds in asdict(outcome.stages).items()},
        "gpu_energy_wh": outcome.monitor.gpu_energy_wh,
        "memory_events": [asdict(event) for event in outcome.memory_events],
        "precision": None if stream.precision is None else stream.precision.as_dict(),
    }
