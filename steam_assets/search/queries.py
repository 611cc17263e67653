"""Queries as vectors: each by the model of the run it is compared with, loaded once."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steam_assets.columns import TextColumn
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import Preparation
from steam_assets.search.question import check_text
from steam_assets.store.runs import EmbeddingRun
from steam_assets.targets import model_of, preparation_of


class QueryEncoder(Protocol):
    """What makes a query's vector: an Encoder, or something that collects queries for one."""

    @property
    def model(self) -> Model: ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (texts, dimension)."""
        ...  # pyright knows a protocol's method by it

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text before truncation."""
        ...


class QueryEncoders:
    """Queries by run: a run is one model and one way to prepare texts, for ever. ``kept`` models stay loaded."""

    def __init__(self, load: Callable[[Model], QueryEncoder], kept: int) -> None:
        self._load = lru_cache(maxsize=kept)(load)
        self._of_run: dict[int, tuple[Model, Preparation]] = {}

    def encode(self, column: TextColumn, run: EmbeddingRun, text: str) -> tuple[list[float], str | None]:
        """The text's vector, and what a person should know; raises ModelUnavailable without the run's own model."""
        if run.run_id not in self._of_run:
            # As the run's texts were prepared, which may be another way than the column's is by now.
            self._of_run[run.run_id] = model_of(run, column), preparation_of(run)
        model, preparation = self._of_run[run.run_id]
        encoder = self._load(model)
        prepared = preparation.prepare(text.replace("\0", " "))
        check_text(prepared)
        most = encoder.model.max_seq_length
        # A character may be a few tokens, one for each of its bytes.
        is_cut = len(prepared) > most / 4 and int(encoder.count_tokens([prepared])[0]) > most
        notice = f"the model reads the first {most:,} tokens of the search text, which has more" if is_cut else None
        return [float(number) for number in encoder.encode([prepared])[0]], notice
