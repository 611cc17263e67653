"""Vectors of search texts for many threads: those that wait go through the model together, and are remembered."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model

REMEMBERED = 1_000
"""Vectors, of 4 kB each with 1,024 numbers."""
LONGEST_REMEMBERED = 1_000
"""Characters: nobody asks twice for more, and a thousand such texts are 1 to 4 MB."""

Vector = NDArray[np.float32]


class SharedEncoder:
    """An encoder that many threads may ask at once; a query encoder of search/.

    Four short texts together take 1.3 times as long as one (2026-11, MiniLM, two cores), so whoever gets the model's
    turn takes along every text that waits.
    """

    def __init__(self, encoder: Encoder, remembered: int = REMEMBERED) -> None:
        self.model = encoder.model
        self._encoder = encoder
        self._remembered = remembered
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[Vector]] = OrderedDict()
        self._waiting: dict[str, Future[Vector]] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimension) in the order given; raises CannotEmbed when a text cannot have one."""
        asked = [self._ask(text) for text in texts]
        if not all(vector.done() for vector in asked):
            with self._turn:
                if not all(vector.done() for vector in asked):
                    self._encode_waiting()
        return np.stack([vector.result() for vector in asked])

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text before truncation; the tokenizer may be used in any thread."""
        return self._encoder.count_tokens(texts)

    def _ask(self, text: str) -> "Future[Vector]":
        with self._lock:
            vector = self._found.get(text) or self._waiting.get(text)
            if vector is None:
                vector = self._waiting[text] = Future()
            elif text in self._found:
                self._found.move_to_end(text)
            return vector

    def _encode_waiting(self) -> None:
        with self._lock:
            waiting = dict(self._waiting)
        self._settle(waiting)
        with self._lock:
            for text, vector in waiting.items():
                del self._waiting[text]
                if vector.exception() is None and len(text) <= LONGEST_REMEMBERED:
                    self._found[text] = vector
            while len(self._found) > self._remembered:
                self._found.popitem(last=False)

    def _settle(self, waiting: "dict[str, Future[Vector]]") -> None:
        """Give every one its vector or its error; a text that cannot be embedded does not spoil the others."""
        try:
            vectors = self._encoder.encode(list(waiting))
        except Exception as error:  # noqa: BLE001  (it is raised again where each is waited for)
            for text, vector in waiting.items():
                if len(waiting) == 1:
                    vector.set_exception(error)
                else:
                    self._settle({text: vector})
            return
        for vector, row in zip(waiting.values(), vectors, strict=True):
            vector.set_result(row)


def shared_encoders(load: Callable[[Model], Encoder], kept: int) -> Callable[[Model], SharedEncoder]:
    """``load`` for searches: the shared encoder of a model, the same one each time while ``kept`` are in use."""
    loading = threading.Lock()

    @lru_cache(maxsize=kept)
    def loaded(model: Model) -> SharedEncoder:
        return SharedEncoder(load(model))

    def find(model: Model) -> SharedEncoder:
        with loading:
            return loaded(model)

    return find
