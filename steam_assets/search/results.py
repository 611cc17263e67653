"""What a search answers: hits of one run, and how they were found. Finding them is searcher.py."""

from dataclasses import dataclass

from steam_assets.errors import SteamAssetsError


class SearchError(SteamAssetsError):
    """A question that cannot be answered as it was asked; the message says what was expected."""


class NothingServed(SearchError):
    """A column serves no run, so there is nothing to search."""


class NoSuchRow(SearchError):
    """The row whose neighbours were asked for is not there, or has no vector of the run that searches read."""


class SearchTimeout(SearchError):
    """A search took longer than it may."""


@dataclass(frozen=True)
class Group:
    """The game that a review is of."""

    id: str
    name: str | None


@dataclass(frozen=True)
class Hit:
    """A row near the query.

    ``score`` orders hits: the cosine similarity, or in a hybrid search the sum of reciprocal ranks. ``text`` is the
    part of the row's text that matters, on one line; ``title`` and ``group`` are None where nothing is known of them.
    """

    id: str
    score: float
    cosine: float
    text: str
    title: str | None = None
    group: Group | None = None


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first, of one run; ``left_out`` rows have vectors of other runs, which are never compared.

    It is None where counting them would have taken longer than a search should.
    Hits of a game stand together, the game with the best hit first. ``how`` is "exact", or "hnsw" with the variant of
    the index, and "full text" with either in a hybrid search. ``notice`` is what a person should know about the answer.
    """

    column: str
    model_name: str
    run_id: int
    hits: list[Hit]
    left_out: int | None
    how: str
    seconds: float
    notice: str | None = None
