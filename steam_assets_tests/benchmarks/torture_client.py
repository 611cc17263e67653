"""The process that is tortured: it fills tables as a command would, with an encoder that has troubles of its own."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import numpy as np
from psycopg2.extensions import connection

from steam_assets import stages
from steam_assets.columns import TextColumn
from steam_assets.encoder.backend import CannotEmbed, Pack, Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.exits import run_and_exit
from steam_assets.id_range import IdRange
from steam_assets.pipeline import fill_range
from steam_assets.progress import watching
from steam_assets.store import read, write
from steam_assets.store.database import DatabaseAddress, connect
from steam_assets.store.runs import get_run
from steam_assets.store.session import RangeTaken, RunSession
from steam_assets.stream import EmbeddingStream
from steam_assets_tests.benchmarks.torture_tables import POISON
from steam_assets_tests.hash_encoder import HashBackend, OneToken, hash_encoder

DIMENSION = 48
HASHED = Model("torture", "sha256:newer", "", DIMENSION, 1, "none")
STARTED = b"started"


@dataclass(frozen=True)
class Trouble:
    """What an encoder suffers: packs that are too large, texts that nothing can be done about, a lost device."""

    most_texts: int | None = None
    memory_errors_share: float = 0.0
    poison: str = "refused"
    lost_after_packs: int | None = None


@dataclass(frozen=True)
class Order:
    """What a client is to fill: ranges by their keys, of columns with these runs; how large its steps are, how fast.

    ``model`` None is MiniLM itself; ``dagster_url`` None fills without Dagster, its home being ``home``.
    """

    name: str
    dsn: str
    ranges: Sequence[tuple[TextColumn, str, int]]
    model: Model | None
    prompt: str = ""
    rows_per_s: float | None = None
    trouble: Trouble = Trouble()
    chunk_rows: int = 200
    page_rows: int = 256
    limit: int | None = None
    seed: int = 0
    dagster_url: str | None = None
    home: Path = Path()

    def connect(self) -> connection:
        """A connection as the platform opens them."""
        return connect(DatabaseAddress(self.dsn, "torture"))

    def encoder(self) -> Encoder:
        """The encoder, with its troubles."""
        if self.model is None:
            return minilm_encoder()
        dice = Random(self.seed)  # noqa: S311  (no secret)
        backend = TroubledBackend(self.model.dimension, self.rows_per_s, self.prompt, self.trouble, dice)
        return Encoder(self.model, OneToken(), backend)


class TroubledBackend(HashBackend):
    """Vectors by hash of the text behind a prompt; memory runs out now and then, as on a GPU that others use too."""

    def __init__(self, dimension: int, rows_per_s: float | None, prompt: str, trouble: Trouble, dice: Random) -> None:
        super().__init__(dimension, rows_per_s)
        self._prompt = prompt
        self._trouble = trouble
        self._dice = dice
        self._packs = 0

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """The vectors of a pack, or what the round has in store for it."""
        trouble = self._trouble
        self._packs += 1
        if trouble.lost_after_packs is not None and self._packs > trouble.lost_after_packs:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if len(pack) > 1:  # one text alone fits always: otherwise it would be the text's fault
            if trouble.most_texts is not None and len(pack) > trouble.most_texts:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total of 8.00 GiB.")
            if self._dice.random() < trouble.memory_errors_share:
                raise MemoryError
        poisoned = [row for row, text in enumerate(pack.texts) if POISON in text]
        if poisoned and trouble.poison == "refused":
            raise CannotEmbed("the model refuses this text")
        if poisoned and trouble.poison == "too large":
            raise RuntimeError("CUDA out of memory. Tried to allocate 99.00 GiB.")
        prompted = Pack(pack.ids, pack.lengths, [f"{self._prompt}{text}" for text in pack.texts])
        vectors = super().start(prompted)()
        if poisoned:
            vectors[poisoned] = np.nan
        return lambda: vectors


@cache
def minilm_encoder() -> Encoder:
    """MiniLM on the CPU."""
    from steam_assets.encoder.loading import EncoderSettings, load_encoder

    return load_encoder(find_model(DEMO_MODEL), EncoderSettings(device="cpu"))


def plain_encoder(model: Model | None, prompt: str = "") -> Encoder:
    """The encoder of a model without any trouble."""
    if model is None:
        return minilm_encoder()
    return hash_encoder(model) if not prompt else Order("", "", (), model, prompt).encoder()


def fill(order: Order) -> int:
    """Fill the ranges in their order; return how many rows went through the encoder."""
    encoder = order.encoder()
    rows = 0
    with RunSession(order.connect, order.name) as session:
        for column, key, run_id in order.ranges:
            run = session.transact(partial(get_run, run_id=run_id))
            id_range = IdRange.from_key(key, column.id_type)
            stream = EmbeddingStream(column, [id_range], run, encoder, order.connect)
            with suppress(RangeTaken):  # as the IO manager does: the other client has it
                done = fill_range(session, stream, id_range, SystemMonitor("cpu", ignore), ignore, order.limit)
                rows += done.counts.handled
    return rows


def fill_through_dagster(order: Order) -> None:
    """Fill the columns as `steam-assets embed` does; raises when a run failed or a check is red."""
    from steam_assets_tests.benchmarks.torture_dagster import embed

    embed(order)


def ignore(_line: str) -> None:
    """Neither log lines nor statistics are wanted."""


def run_client(order: Order, sender: Connection) -> None:
    """A process's whole life: fill, telling of every commit, and end with the exit code of a command."""
    os.environ["STEAM_ASSETS_HOME"] = str(order.home)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = (order.home / f"{order.name}.log").open("a", buffering=1)
    sys.stderr = sys.stdout = log
    faulthandler.register(signal.SIGUSR1, log, all_threads=True)
    write.CHUNK_ROWS, read.PAGE_ROWS = order.chunk_rows, order.page_rows
    # A step ahead, as where texts are long: otherwise all rows of so small a table are read at once.
    stages.WINDOW_ROWS = order.page_rows
    stages.PAGE_BYTES_AHEAD = stages.WINDOW_TOKENS_AHEAD = 1
    sender.send_bytes(STARTED)
    with watching(lambda progress: sender.send_bytes(str(progress.rows).encode())):
        run_and_exit(lambda: fill(order) if order.dagster_url is None else fill_through_dagster(order))
