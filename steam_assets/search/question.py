"""A search as it is asked for, checked before anything is read. What answers it is searcher.py."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steam_assets.search.results import SearchError

MOST_HITS = 1_000
LONGEST_QUERY = 2_000_000
"""Characters: more than any model reads, and less than hurts."""
PER_GROUP = 3
"""Reviews of one game that a search shows, unless it is asked for others."""


@dataclass(frozen=True)
class Question:
    """What is asked besides a text or a vector: ``k`` hits, or those of ``k`` games, ``per_group`` reviews of each."""

    k: int = 10
    where: str | None = None
    hybrid: bool = False
    exact: bool = False
    per_group: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_HITS:
            raise SearchError(f"{self.k:,} hits were asked for; expected 1 to {MOST_HITS:,}.")
        if self.per_group is not None and self.per_group < 1:
            raise SearchError(f"{self.per_group:,} hits of each game were asked for; expected 1 or more.")
        if self.where is not None:
            check_encodable(self.where, "filter")
            object.__setattr__(self, "where", self.where if self.where.strip() else None)


def check_text(text: str) -> None:
    """Raise SearchError for a text that nothing can be found by."""
    if len(text) > LONGEST_QUERY:
        raise SearchError(f"The search text has {len(text):,} characters; expected at most {LONGEST_QUERY:,}.")
    check_encodable(text, "search text")
    if not text.replace("\0", " ").strip():
        raise SearchError("The search text is blank; expected some words.")


def check_encodable(text: str, what: str) -> None:
    """Raise SearchError for what a terminal gave as bytes of no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SearchError(f"The {what} holds bytes that are not UTF-8; expected UTF-8.") from None


def check_vector(vector: Sequence[float], dimension: int) -> None:
    """Raise SearchError for a vector that cannot be compared with those of a column."""
    if len(vector) != dimension:
        raise SearchError(f"The vector has {len(vector):,} numbers; expected {dimension:,}, as the column's have.")
    if not all(map(math.isfinite, vector)) or not any(vector):
        raise SearchError("The vector has no direction: expected finite numbers that are not all 0.")
