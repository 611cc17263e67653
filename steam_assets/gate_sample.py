"""The texts that the precision gate compares: rows of the column, and made-up ones where the rows lack a length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steam_assets import sample
from steam_assets.encoder.precision import BUCKET_TOKENS, buckets_of
from steam_assets.encoder.preparation import find_preparation
from steam_assets.encoder.tokens import why_unreadable

ROWS = 512
"""Of the column at most; more neighbours to choose from lower the recall, so this is part of what the gate asks."""
LEAST_TEXTS = 256
BUCKET_TEXTS = 100
LEAST_BUCKET_TEXTS = 10
"""Ten texts have a hundred neighbours: one that changes places is the 1 % that may."""

MADE_REVIEWS = 1_200
LONG_TEXT_TOKENS = (350, 800, 2_400)
"""A little above where a bucket begins: ten of them are affordable."""
CHARACTERS_PER_TOKEN = 4
WHOLE_CHARACTERS_PER_TOKEN = 6


@dataclass(frozen=True)
class Sample:
    """Different texts, their tokens after truncation, int64 (texts,), and which of them are rows, bool (texts,)."""

    texts: Sequence[str]
    tokens: NDArray[np.int64]
    is_row: NDArray[np.bool_]

    def only(self, kept: NDArray[np.bool_]) -> "Sample":
        """Without the others."""
        texts = [text for text, keep in zip(self.texts, kept, strict=True) if keep]
        return Sample(texts, self.tokens[kept], self.is_row[kept])


def choose_sample(
    rows: Sequence[str],
    count_tokens: Callable[[Sequence[str]], NDArray[np.int64]],
    max_seq_length: int,
    most_tokens: int,
) -> Sample:
    """Texts of every length that the model reads, about ``most_tokens`` in all, the same ones for the same rows.

    Half of the tokens go to the longest bucket, half of the rest to the next, and so on: long texts cost the most, and
    each bucket needs ten. A bucket takes rows before made-up texts; its first text is its longest.
    """
    usable = list(dict.fromkeys(text for text in rows if text.strip() and why_unreadable(text) is None))[:ROWS]
    made = [text for text in dict.fromkeys(made_texts(max_seq_length)) if text not in set(usable)]
    texts = [*usable, *made]
    tokens = np.minimum(count_tokens(texts), max_seq_length)
    is_row = np.arange(len(texts)) < len(usable)
    chosen: list[int] = []
    buckets = buckets_of(tokens)
    for bucket in range(len(BUCKET_TOKENS), -1, -1):
        places = np.flatnonzero(buckets == bucket)
        left = most_tokens - int(tokens[chosen].sum())
        chosen += _affordable(places, tokens, left // 2 if bucket else left)
    missing = LEAST_TEXTS - len(chosen)
    if missing > 0:  # rows and made-up texts of few tokens: they cost next to nothing
        others = np.setdiff1d(np.arange(len(texts)), chosen)
        chosen += others[np.argsort(tokens[others], kind="stable")][:missing].tolist()
    chosen.sort()
    return Sample([texts[place] for place in chosen], tokens[chosen], is_row[chosen])


def _affordable(places: NDArray[np.intp], tokens: NDArray[np.int64], budget: int) -> list[int]:
    """The longest text of a bucket, then others in order; until there are ten, each leaves enough for the rest."""
    if not len(places):
        return []
    longest = int(places[np.argmax(tokens[places])])
    found, left = [longest], budget - int(tokens[longest])
    for place in map(int, places):
        share = left // max(1, LEAST_BUCKET_TEXTS - len(found))
        if place != longest and tokens[place] <= share and len(found) < BUCKET_TEXTS:
            found.append(place)
            left -= int(tokens[place])
    return found


def made_texts(max_seq_length: int) -> Iterator[str]:
    """Reviews, store pages, and several pages of one theme together, up to more than the model reads."""
    for row in sample.reviews(MADE_REVIEWS):
        text = row["review_text"]
        if isinstance(text, str) and text.strip():
            yield text
    prepare = find_preparation("steam_html").prepare
    pages: dict[str, list[str]] = {}
    for application in sample.catalogue():
        if "about_the_game" in application.row:
            pages.setdefault(application.theme.name, []).append(prepare(str(application.row["about_the_game"])))
    for of_theme in pages.values():
        waiting = iter(of_theme)
        yield next(waiting)
        for tokens in LONG_TEXT_TOKENS:
            if tokens < 2 * max_seq_length:
                yield _joined(waiting, tokens * CHARACTERS_PER_TOKEN)
    every_page = (page for of_theme in pages.values() for page in of_theme)
    yield _joined(every_page, max_seq_length * WHOLE_CHARACTERS_PER_TOKEN)


def _joined(pages: Iterator[str], characters: int) -> str:
    """Pages until there are so many characters."""
    found: list[str] = []
    while sum(map(len, found)) < characters and (page := next(pages, None)) is not None:
        found.append(page)
    return "\n".join(found)
