"""How many of the nearest rows an index finds, at what ef_search, and how fast: rows of the column are the queries."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.neighbours import EQUAL_COSINE, Neighbours, exact_neighbours
from steam_assets.indexes.timing import Asked, ask, prepare
from steam_assets.settings import number_setting
from steam_assets.store.projections import Projection
from steam_assets.store.variants import SearchIndex, Variant, nearest_through
from steam_assets.store.vector_pages import RunVectors, sample_of_vectors, vector_pages

K = 10
QUERIES = 200
"""Recall@10 is a share of 2,000 places then: 0.99 has a standard error of about 0.003."""
EF_SEARCHES = (20, 40, 64, 100, 200, 400)
RECALL = 0.99


@dataclass(frozen=True)
class RecallPoint:
    """What searches with this hnsw.ef_search find and take."""

    ef_search: int
    recall: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class MeasuredRecall:
    """Recall@``k`` over ef_search, ascending, and the one searches get: the least that surely has the recall ``asked``.

    ``other_index`` is one that the server prefers to ours, where there is such a one.
    """

    k: int
    queries: int
    asked: float
    points: tuple[RecallPoint, ...]
    other_index: str | None

    @property
    def chosen(self) -> RecallPoint:
        """The least ef_search found two standard errors above the recall asked; the best there is where none is.

        A sample that just reaches it says little: of one with 0.9900, searches for texts lost 0.007 of MRR@10.
        """
        places = max(1, self.k * self.queries)
        sure = [p for p in self.points if p.recall - 2 * math.sqrt(p.recall * (1 - p.recall) / places) >= self.asked]
        return sure[0] if sure else max(self.points, key=lambda point: point.recall)


def recall_asked(asked: float | None = None) -> float:
    """The recall@10 that an index has to have: ``asked``, else ``STEAM_ASSETS_RECALL``, else 0.99."""
    recall = number_setting("STEAM_ASSETS_RECALL") if asked is None else asked
    if recall is None:
        return RECALL
    if not 0 < recall <= 1:
        raise SteamAssetsError(f"The recall asked for is {recall:g}; expected a share above 0, at most 1, like 0.99.")
    return recall


def measure_recall(
    connect: Callable[[], connection],
    column: TextColumn,
    run_id: int,
    dimension: int,
    index: SearchIndex,
    asked: float,
    projection: Projection | None = None,
    queries: int = QUERIES,
) -> MeasuredRecall:
    """Ask the index for the neighbours of a sample of its own rows, and compare with the nearest of all rows.

    All rows are read once, page by page; the row that asks is left out of what it finds.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        sample = sample_of_vectors(conn, column, run_id, dimension, queries)
        pages = vector_pages(conn, column, run_id, dimension)
        nearest = exact_neighbours((page.vectors for page in pages), sample.vectors, K + 1)
        # The largest cosine is that of the row itself, or of one that repeats it. Where there are no more rows than
        # that, the others are missing, and nothing can be missed.
        others = nearest.cosines[:, 1:]
        others = others[:, np.isfinite(others).all(axis=0)]
        statements = _searches(column, run_id, index, sample, projection)
        ask(conn, statements(EF_SEARCHES[0])[: QUERIES // 4])  # brings the index into memory
        points = [
            _point(conn, statements(ef_search), ef_search, Neighbours(others))
            for ef_search in ef_searches(index.variant)
        ]
        return MeasuredRecall(K, len(sample.ids), asked, tuple(points), _other_index(conn, index, statements))


def ef_searches(variant: Variant) -> list[int]:
    """What is tried: values below the candidates of a variant that orders them again come to the same."""
    return sorted({SearchIndex("", variant, ef_search).least_ef_search(K + 1) for ef_search in EF_SEARCHES})


def without_itself(cosines: Sequence[float]) -> list[float]:
    """What a row found, itself left out: [1.0, 0.9, 0.8] -> [0.9, 0.8]."""
    found_itself = bool(cosines) and cosines[0] >= 1 - EQUAL_COSINE
    return list(cosines[1:] if found_itself else cosines[:K])


def _searches(
    column: TextColumn, run_id: int, index: SearchIndex, sample: RunVectors, projection: Projection | None
) -> Callable[[int], list[Asked]]:
    def searches(ef_search: int) -> list[Asked]:
        tried = SearchIndex(index.name, index.variant, ef_search, index.projection)
        return [
            Asked(
                nearest_through(
                    *(tried, column, run_id, query, K + 1),
                    projected_query=None if projection is None else projection.project(query),
                ),
                tried.least_ef_search(K + 1),
            )
            for query in sample.vectors.tolist()
        ]

    return searches


def _point(conn: connection, searches: Sequence[Asked], ef_search: int, others: Neighbours) -> RecallPoint:
    answers = ask(conn, searches)
    recall = others.recall([without_itself(found) for found in answers.cosines], K) if others.cosines.size else 1.0
    milliseconds = 1e3 * np.asarray(answers.seconds)
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return RecallPoint(ef_search, recall, float(p50), float(p95))


def _other_index(conn: connection, index: SearchIndex, searches: Callable[[int], list[Asked]]) -> str | None:
    """The index that a search goes through, where it is not ours; one that somebody built on the vectors may be."""
    search = searches(EF_SEARCHES[0])[0]
    prepare(conn, [search])
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("EXPLAIN (FORMAT json) {}").format(search.statement))
        (plan,) = cursor.fetchone() or ([],)
    used = _indexes(plan[0]["Plan"])
    return None if index.name in used else ", ".join(sorted(used)) or "none at all"


def _indexes(node: dict[str, object]) -> set[str]:
    found = {str(node["Index Name"])} if "Index Name" in node else set()
    below = node.get("Plans", [])
    assert isinstance(below, list)
    return found.union(*map(_indexes, below))
