"""What searches find for each query of a set: among documents in memory, or among the rows of a column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.metrics import CUT, DEPTH
from steam_assets.search import Searcher, SearchResult

How = Literal["exact", "index", "hybrid"]
"""Comparing every row; through the column's index; with full text beside the vectors."""

TEXTS_AT_ONCE = 512
"""Tokenized and encoded together: enough to pack them well, and a progress line every few seconds on a CPU."""

COSINES_AT_ONCE = 20_000_000
"""80 MB of them, whatever the number of documents."""

Tell = Callable[[str, int, int], None]
"""What is being done, and how much of how much of it."""

Vectors = NDArray[np.float32]


class NotServed(SteamAssetsError):
    """A column that cannot be searched in the way that was asked for."""


class RunMoved(SteamAssetsError):
    """Searches of a column read another run by now than when it was begun."""


@dataclass(frozen=True)
class Rankings:
    """The ids found for each query, best first, at most DEPTH."""

    found: tuple[tuple[str, ...], ...]
    notices: tuple[str, ...] = ()


def encode_all(encoder: Encoder, texts: Sequence[str], what: str, tell: Tell) -> Vectors:
    """A unit vector (texts, dimension) for each text, a part at a time."""
    vectors = np.empty((len(texts), encoder.model.dimension), dtype=np.float32)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = texts[start : start + TEXTS_AT_ONCE]
        vectors[start : start + len(part)] = encoder.encode(part)
        tell(what, start + len(part), len(texts))
    return vectors


def rank_documents(
    corpus: Mapping[str, str], queries: Sequence[str], prepare: Callable[[str], str], encoder: Encoder, tell: Tell
) -> Rankings:
    """Every document compared with every query, all prepared as the texts of a column are; blank ones find nothing."""
    documents = {id_: text for id_, raw in corpus.items() if (text := prepare(raw)).strip()}
    asked, blank = _prepared(queries, prepare)
    vectors = encode_all(encoder, list(documents.values()), "documents", tell)
    query_vectors = encode_all(encoder, asked, "queries", tell)
    ids = list(documents)
    found: list[tuple[str, ...]] = []
    step = max(1, COSINES_AT_ONCE // max(1, len(ids)))
    for start in range(0, len(asked), step):
        places = nearest(query_vectors[start : start + step] @ vectors.T, DEPTH)
        found += [tuple(ids[place] for place in row) for row in places.tolist()]
    answered = tuple(() if place in blank else hits for place, hits in enumerate(found))
    return Rankings(answered, _blank_notice(blank))


def nearest(cosines: Vectors, k: int) -> NDArray[np.intp]:
    """The columns of the ``k`` highest values of each row, highest first, equal ones in their order."""
    k = min(k, cosines.shape[1])
    chosen = np.sort(np.argpartition(-cosines, k - 1, axis=1)[:, :k], axis=1) if k else np.empty((len(cosines), 0), int)
    order = np.argsort(-np.take_along_axis(cosines, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def rank_rows(
    searcher: Searcher,
    column: TextColumn,
    run_id: int,
    queries: Sequence[str],
    prepare: Callable[[str], str],
    encoder: Encoder,
    how: How,
    tell: Tell,
) -> Rankings:
    """The rows that searches of the column find, as `steam-assets search` would.

    Raises RunMoved when they read another run meanwhile, NotServed when they go through no index though that was asked
    for.
    """
    asked, blank = _prepared(queries, prepare)
    # Hybrid searches are asked the words, and encode them themselves.
    vectors = None if how == "hybrid" else encode_all(encoder, asked, "queries", tell)

    def search(query: int, k: int) -> SearchResult:
        if vectors is None:
            (result,) = searcher.search(queries[query], column=column, k=k, hybrid=True, per_group=None)
        else:
            exact = how == "exact"
            result = searcher.search_vector(vectors[query].tolist(), column=column, k=k, exact=exact, per_group=None)
        check_run(str(column), run_id, result.run_id)
        return result

    found: list[tuple[str, ...]] = []
    scans: list[str | None] = []
    for query in range(len(asked)):
        if query in blank:
            found.append(())
            continue
        result = search(query, DEPTH if how == "exact" else CUT)
        ids = dict.fromkeys(hit.id for hit in result.hits)
        # Asked for a hundred, an index looks further than for ten: the first ten are those that people get.
        if how != "exact" and len(ids) == CUT:
            ids |= dict.fromkeys(hit.id for hit in search(query, DEPTH).hits)
        found.append(tuple(ids)[:DEPTH])
        if how == "index" and "hnsw" not in result.how:
            scans.append(result.notice)
        tell("searches", query + 1, len(asked))
    if scans and len(scans) == len(asked) - len(blank):
        raise without_index(str(column), scans[-1])
    scanned = (f"{len(scans):,} searches compared every row, for want of hits through the index.",) if scans else ()
    return Rankings(tuple(found), (*_blank_notice(blank), *scanned))


def check_run(column: str, begun: int, found: int) -> None:
    """Raise RunMoved unless a search found rows of the run that was begun with: hits of two runs do not compare."""
    if found != begun:
        raise RunMoved(
            f"{column} was searched in run {begun}, and now in run {found}: another model was promoted or completed "
            "meanwhile. Repeat the command."
        )


def without_index(column: str, why: str | None) -> NotServed:
    """The error for an index that is asked for and not there; exact search would pass for it, and look perfect."""
    return NotServed(
        f"{column} is searched without an index{f' ({why})' if why else ''}. Build one with `steam-assets index build "
        f"{column}`, or evaluate exact search."
    )


def _prepared(queries: Sequence[str], prepare: Callable[[str], str]) -> tuple[list[str], set[int]]:
    """The queries as the model reads them, and the places of those of which nothing is left to read."""
    asked = [prepare(query) for query in queries]
    return asked, {place for place, text in enumerate(asked) if not text.strip()}


def _blank_notice(blank: set[int]) -> tuple[str, ...]:
    return (f"{len(blank):,} queries are blank once prepared, and find nothing.",) if blank else ()
