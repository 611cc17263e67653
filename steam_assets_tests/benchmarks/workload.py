"""A corpus with its token counts: what each way of embedding is given, and what its figures are divided by."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.models import Model
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets.stages import WINDOW_ROWS
from steam_assets_tests.benchmarks.corpus import Corpus


@dataclass(frozen=True)
class Workload:
    """A corpus's rows, ``passes`` times one after the other, and how this model's tokenizer cuts them.

    ``lengths`` are the tokens that the model reads of each row, int64 (rows,); ``is_cut`` says where these are not all
    of the text, ``is_new`` where no earlier row of the same window has the same text.
    ``places`` are where the rows are in the whole corpus.
    """

    corpus: Corpus
    lengths: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    is_new: NDArray[np.bool_]
    places: NDArray[np.intp]
    passes: int = 1

    def __len__(self) -> int:
        return len(self.corpus) * self.passes

    @property
    def name(self) -> str:
        """The corpus's."""
        return self.corpus.name

    @property
    def tokens(self) -> int:
        """Of all rows in all passes, duplicates included: they too get a vector."""
        return int(self.lengths.sum()) * self.passes

    @property
    def distinct(self) -> NDArray[np.int64]:
        """The lengths of one pass, each text once."""
        found: NDArray[np.int64] = self.lengths[self.is_new]
        return found

    def first(self, rows: int) -> "Workload":
        """Its first rows: as random as all."""
        return self.only(np.arange(min(rows, len(self.corpus))))

    def only(self, rows: NDArray[np.intp]) -> "Workload":
        """Some of its rows."""
        corpus = replace(self.corpus, stored=[self.corpus.stored[row] for row in rows])
        return Workload(
            corpus, self.lengths[rows], self.is_cut[rows], self.is_new[rows], self.places[rows], self.passes
        )

    def times(self, passes: int) -> "Workload":
        """The same rows so many times."""
        return replace(self, passes=passes)

    def pages(self) -> Iterator[SourceTexts]:
        """The rows as a reader hands them over, a window at a time; ids are places, and go on from pass to pass."""
        rows = len(self.corpus)
        for start in range(0, len(self), rows):
            for place in range(0, rows, WINDOW_ROWS):
                texts = self.corpus.stored[place : place + WINDOW_ROWS]
                ids = range(start + place, start + place + len(texts))
                yield SourceTexts(ids, texts, [0] * len(texts), [bytes(16)] * len(texts))

    def statistics(self) -> dict[str, int | float]:
        """What has to be known of the texts to judge figures that were measured with them."""
        return {
            "rows": len(self.corpus),
            "tokens": int(self.lengths.sum()),
            "median": float(np.median(self.lengths)),
            "p95": float(np.percentile(self.lengths, 95)),
            "max": int(self.lengths.max()),
            "truncated": int(self.is_cut.sum()),
            "duplicates": int((~self.is_new).sum()),
        }


def tokenized(corpus: Corpus, tokenizer: TextTokenizer) -> Workload:
    """The corpus as this tokenizer cuts it."""
    found = tokenizer.tokenize(corpus.texts)
    is_new = np.ones(len(corpus), dtype=np.bool_)
    for start in range(0, len(corpus), WINDOW_ROWS):
        seen: set[str] = set()
        for place, text in enumerate(corpus.texts[start : start + WINDOW_ROWS], start):
            is_new[place] = text not in seen
            seen.add(text)
    return Workload(corpus, found.lengths, found.counts > found.lengths, is_new, np.arange(len(corpus)))


def tokenizer_of(model: Model) -> TextTokenizer:
    """The model's tokenizer without the model."""
    from transformers import AutoTokenizer

    from steam_assets.encoder.torch_backend import model_directory

    loaded = AutoTokenizer.from_pretrained(str(model_directory(model)), local_files_only=True)
    return TextTokenizer(loaded, model)
