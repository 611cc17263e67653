"""What is to be filled, with what, from where: the stream of a column's embeddings. Writing them is pipeline.py's."""

import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.device_lease import DeviceLease
from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.precision import PrecisionReport
from steam_assets.encoder.preparation import find_preparation
from steam_assets.gate import check_precision
from steam_assets.id_range import IdRange
from steam_assets.stages import StageSeconds, encoded
from steam_assets.store.read import read_pending, sample_texts
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.server import check_rights, check_writable
from steam_assets.targets import model_to_fill, target_run
from steam_assets.upkeep import DEFAULTS, FillOptions

SAMPLE_TEXTS = 512


@dataclass(frozen=True)
class EmbeddingStream:
    """The embeddings of pending rows of some ranges; nothing is read before someone iterates, and each time anew.

    ``precision`` is how near the encoder's vectors are to fp32; None where they are fp32 themselves. ``lease`` is
    of the device they are computed on. ``stages`` counts what every iteration took.
    """

    column: TextColumn
    id_ranges: Sequence[IdRange]
    run: EmbeddingRun
    encoder: Encoder
    connect: Callable[[], connection]
    options: FillOptions = DEFAULTS
    precision: PrecisionReport | None = None
    lease: DeviceLease | None = None
    stages: StageSeconds = field(default_factory=StageSeconds, compare=False)

    @property
    def device(self) -> str:
        """What computes the vectors: what it calls itself, and which one it is."""
        name = self.encoder.backend.device_name
        return name if self.lease is None else f"{name} ({self.lease.device.name})"

    def keep_device(self) -> None:
        """Make sure that no other process has the device; raises LeaseLost when one has."""
        if self.lease is not None:
            self.lease.renew()

    def batches(self, id_range: IdRange, limit: int | None = None) -> Generator[EncodedBatch]:
        """One range's batches: threads read, tokenize and encode while the caller writes."""
        preparation = find_preparation(self.column.preparation)
        yield from encoded(self._pages(id_range, limit), self.encoder, preparation, seconds=self.stages)

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
    lease: DeviceLease | None = None,
) -> EmbeddingStream:
    """The stream that fills ``id_ranges`` with vectors of the column's target run, on a device that is leased.

    Raises PrecisionRefused when the encoder's vectors are too far from what fp32 gives.
    """
    with closing(connect()) as conn:
        run = target_run(conn, column)
        check_writable(conn)
        check_rights(conn, column)
    encoder = load(model_to_fill(run, column))
    keep_what_is_loaded()
    precision = check_precision(encoder, lambda: sample_of(connect, column), str(column))
    return EmbeddingStream(column, id_ranges, run, encoder, connect, options, precision, lease)


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
