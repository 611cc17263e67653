"""What the benchmarks embed: the real Steam rows beside the checkout, else the sample's. Every row has a text."""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from steam_assets import sample
from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.encoder.preparation import Preparation, find_preparation
from steam_assets.encoder.tokens import why_unreadable

CHECKOUT = Path(__file__).resolve().parents[2]
REAL_ROWS = CHECKOUT.parent / "shared/data/steam"
SEED = 0
NAMES = ("reviews", "applications")

Row = dict[str, object]


@dataclass(frozen=True)
class Corpus:
    """Stored texts in a random order, the same each time, and how they are prepared; ``source`` says whose they are."""

    name: str
    source: str
    stored: Sequence[str]
    preparation: Preparation

    def __len__(self) -> int:
        return len(self.stored)

    @cached_property
    def texts(self) -> list[str]:
        """What a model is given."""
        return [self.preparation.prepare(text) for text in self.stored]


def read_corpora(names: Iterable[str], rows: int | None = None, data: Path = REAL_ROWS) -> list[Corpus]:
    """At most ``rows`` texts of each; real ones where ``data`` has the files, else as many as the sample has."""
    return [_read(name, rows, data) for name in names]


def _read(name: str, rows: int | None, data: Path) -> Corpus:
    path = data / f"{name}.jsonl.gz"
    source = "real rows" if path.exists() else "steam_assets.sample"
    if name == "reviews":
        found = _lines(path) if path.exists() else list(sample.reviews())
        return _corpus(name, source, [str(row.get("review_text") or "") for row in found], REVIEWS.preparation, rows)
    found = _lines(path) if path.exists() else list(sample.applications())
    preparation = APPLICATIONS.preparation
    if preparation == "steam_html" and find_spec("turbohtml") is None:
        # A machine that was lent for its GPU has torch, and not always this project's other dependencies.
        source, preparation = f"{source}, unprepared: turbohtml is not installed", "plain"
    return _corpus(name, source, [_combined_text(row) for row in found], preparation, rows)


def _lines(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _combined_text(row: Row) -> str:
    """As the generated column applications.combined_text puts it together."""
    return " ".join(str(row.get(field) or "") for field in ("name", "short_description", "about_the_game"))


def _corpus(name: str, source: str, stored: Sequence[str], preparation: str, rows: int | None) -> Corpus:
    prepare = find_preparation(preparation)
    shuffled = (stored[place] for place in np.random.default_rng(SEED).permutation(len(stored)))
    kept: list[str] = []
    for text in shuffled:
        if len(kept) == rows:
            break
        if why_unreadable(text) is None and prepare.prepare(text).strip():
            kept.append(text)
    return Corpus(name, source, kept, prepare)
