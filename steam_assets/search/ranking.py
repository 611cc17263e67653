"""Which rows answer a question, in which order: nearest vectors, fused with words where asked, and grouped by game."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.search.question import Question
from steam_assets.store.filters import filter_condition
from steam_assets.store.fulltext import with_words
from steam_assets.store.search import Nearest, Neighbour, compare_all, find_nearest
from steam_assets.store.search_rows import groups_of, has_groups
from steam_assets.store.variants import ALL_ROWS

FUSION_RANK = 60
"""Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009)."""
FUSED_ROWS = 100
"""At least so many rows of either ranking are fused: a row far down in one may be first in the other."""
ROWS_FOR_A_GROUP = 8
MOST_ROWS = 5_000
"""Rows looked through for groups; where a few games have nearly all reviews, fewer groups come than were asked for."""


@dataclass(frozen=True)
class RankedRow:
    """A row that answers, with what orders it, and its group where rows have one."""

    id: str
    score: float
    cosine: float
    group: str | None = None


@dataclass(frozen=True)
class Ranking:
    """Rows, best first, those of a group together; and how they were found."""

    rows: list[RankedRow]
    how: str


def rank(
    conn: connection,
    column: TextColumn,
    run_id: int,
    vector: Sequence[float],
    question: Question,
    words: str | None = None,
    without: str | None = None,
) -> Ranking:
    """The rows of a run that answer, by their vectors and, in a hybrid search, by ``words``; ``without`` this id."""
    condition = ALL_ROWS if question.where is None else filter_condition(conn, column, question.where)
    find = partial(_find, conn, column, run_id, vector, question.exact, words, without, condition)
    if question.per_group is None or not has_groups(conn, column):
        found = find(question.k)
        return Ranking(found.rows[: question.k], found.how)
    rows = min(MOST_ROWS, ROWS_FOR_A_GROUP * question.k)
    while True:
        found = find(rows)
        owners = groups_of(conn, column, [row.id for row in found.rows])
        grouped = group_rows(found.rows, owners, question.k, question.per_group)
        is_all = len(found.rows) < rows or rows == MOST_ROWS
        if is_all or len({row.group for row in grouped}) == question.k:
            return Ranking(grouped, found.how)
        rows = MOST_ROWS


def _find(
    conn: connection,
    column: TextColumn,
    run_id: int,
    vector: Sequence[float],
    exact: bool,
    words: str | None,
    without: str | None,
    condition: sql.Composable,
    rows: int,
) -> Ranking:
    """At least ``rows`` rows, if there are so many, by vectors and words; without their groups."""
    wanted = rows if words is None else max(rows, FUSED_ROWS)
    ask = compare_all if exact else find_nearest
    # One more for the row whose neighbours are asked for.
    nearest = ask(conn, column, run_id, vector, wanted + (without is not None), condition)
    if words is not None:
        return _fused(nearest, with_words(conn, column, run_id, words, vector, wanted, condition))
    near = [row for row in nearest.rows if row.id != without]
    return Ranking([RankedRow(row.id, row.cosine, row.cosine) for row in near], nearest.how)


def _fused(nearest: Nearest, holding: Sequence[Neighbour]) -> Ranking:
    cosines = {row.id: row.cosine for row in (*nearest.rows, *holding)}
    scores = fuse([[row.id for row in nearest.rows], [row.id for row in holding]])
    rows = [RankedRow(id_, score, cosines[id_]) for id_, score in scores.items()]
    return Ranking(rows, f"{nearest.how} + full text")


def fuse(rankings: Sequence[Sequence[str]]) -> dict[str, float]:
    """Ids by the sum of 1 / (60 + rank) over the rankings that have them, highest first."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, id_ in enumerate(ranking, 1):
            scores[id_] = scores.get(id_, 0.0) + 1 / (FUSION_RANK + place)
    return dict(sorted(scores.items(), key=lambda scored: -scored[1]))


def group_rows(rows: Sequence[RankedRow], owners: Mapping[str, str], groups: int, per_group: int) -> list[RankedRow]:
    """The best ``per_group`` rows of the first ``groups`` groups, that of the best row first."""
    members: dict[str | None, list[RankedRow]] = {}
    for row in rows:
        group = owners.get(row.id)
        if group not in members and len(members) == groups:
            continue
        kept = members.setdefault(group, [])
        if len(kept) < per_group:
            kept.append(RankedRow(row.id, row.score, row.cosine, group))
    return [row for kept in members.values() for row in kept]
