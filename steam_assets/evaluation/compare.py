"""Two vector columns of one table side by side: how good, how alike, how fast and how large they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from time import perf_counter

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.metrics import METRICS
from steam_assets.evaluation.query_set import QuerySet
from steam_assets.evaluation.rankings import Tell, check_run
from steam_assets.evaluation.score import Evaluation, evaluate, say_nothing
from steam_assets.evaluation.side import Side, search_all
from steam_assets.evaluation.significance import Difference, paired_difference

COMPARED = ("ndcg@10", "mrr@10")
SEARCHES = 200
"""Queries that both columns are searched with: ten of them are slower than the 95th percentile."""


class NotComparable(SteamAssetsError):
    """Two columns that cannot be set side by side."""


@dataclass(frozen=True)
class Comparison:
    """Two columns on the same queries; ``differences`` are by metric, what the second has more than the first.

    ``overlap`` is the mean share of the first ten hits that searches of both find, over ``searches`` queries.
    """

    first: Side
    second: Side
    query_set: str
    query_set_digest: str
    differences: Mapping[str, Difference]
    overlap: float
    searches: int
    notices: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """All but the hits of each query, ready for json.dumps."""
        found = asdict(self)
        for side in ("first", "second"):
            del found[side]["hits"]
        for name, difference in self.differences.items():
            found["differences"][name]["is_significant"] = difference.is_significant
        return found

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What the differences mean, a sentence for each metric."""
        return tuple(verdict(name, found, self.first, self.second) for name, found in self.differences.items())


def compare(
    connect: Callable[[], connection],
    first: TextColumn,
    second: TextColumn,
    query_set: QuerySet,
    load: Callable[[Model], Encoder],
    tell: Tell = say_nothing,
    ignore_unknown: bool = False,
) -> Comparison:
    """Score both columns on a query set, pair by pair, and search both with some of its queries.

    Each is searched with its own model and preparation, in its serving run or else its target. Raises NotComparable for
    columns of two tables.
    """
    check_comparable(first, second)
    started = perf_counter()
    evaluations = [
        evaluate(connect, column, query_set, load, tell=tell, ignore_unknown=ignore_unknown)
        for column in (first, second)
    ]
    texts = list(query_set.sample(SEARCHES).queries.values())
    sides = [search_all(connect, column, texts, load, tell) for column in (first, second)]
    for evaluation, side in zip(evaluations, sides, strict=True):
        check_run(side.column, evaluation.run_id, side.run_id)
    return Comparison(
        first=sides[0],
        second=sides[1],
        query_set=query_set.name,
        query_set_digest=query_set.digest,
        differences=differences(*evaluations, metrics=COMPARED),
        overlap=overlap(sides[0].hits, sides[1].hits),
        searches=len(texts),
        notices=tuple(dict.fromkeys(notice for one in evaluations for notice in one.notices)),
        seconds=perf_counter() - started,
    )


def check_comparable(first: TextColumn, second: TextColumn) -> None:
    """Raise NotComparable unless these are two vector columns of one table."""
    if not first.is_of_table(second) or first == second:
        raise NotComparable(
            f"{first} and {second} cannot be compared: expected two vector columns of one table, whose rows have the "
            "same ids."
        )


def differences(first: Evaluation, second: Evaluation, *, metrics: Sequence[str] = METRICS) -> dict[str, Difference]:
    """What each metric gains from the first to the second, over the queries that both were asked."""
    asked = set(second.scores.query_ids)
    both = [query_id for query_id in first.scores.query_ids if query_id in asked]
    if not both:
        raise NotComparable(f"{first.column} and {second.column} have no query of {first.query_set} in common.")
    before, after = first.scores.of(both), second.scores.of(both)
    return {name: paired_difference(before.values[name], after.values[name]) for name in metrics}


def overlap(first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> float:
    """The mean share of hits that both lists of a query have: [a, b] and [b, c] -> 0.5; two empty lists are alike."""
    return fmean(
        len(set(one) & set(other)) / longest if (longest := max(len(one), len(other))) else 1.0
        for one, other in zip(first, second, strict=True)
    )


def verdict(metric: str, found: Difference, first: Side, second: Side) -> str:
    """What a difference means: which column is better and how surely, or that the queries do not tell."""
    numbers = f"{found.difference:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}, p = {found.p_value:.4f}"
    if not found.is_significant:
        return f"{metric}: no difference that {found.queries:,} queries can show ({numbers})."
    better = second if found.difference > 0 else first
    return f"{metric}: {better.column} is better ({numbers}, {found.queries:,} queries)."


def table_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """What is compared, of the first column and of the second, as people read it."""
    sides = (comparison.first, comparison.second)
    rows: list[tuple[str, Callable[[Side], str]]] = [
        ("model", lambda side: side.model_name),
        ("preparation", lambda side: side.preparation),
        ("numbers of a vector", lambda side: f"{side.dimension:,}"),
        ("run", lambda side: f"{side.run_id}" + (" (serves)" if side.serves else "")),
        ("rows with a vector", lambda side: f"{side.costs.vectors:,}"),
        ("vectors, MB", lambda side: _megabytes(side.costs.vector_bytes)),
        ("index, MB", lambda side: "none" if side.costs.index_bytes is None else _megabytes(side.costs.index_bytes)),
        ("seconds to embed", lambda side: f"{side.costs.embed_seconds:,.1f}"),
        ("rows encoded in them", lambda side: f"{side.costs.rows_encoded:,}"),
        ("query encoded, p50 ms", lambda side: f"{side.encoding.p50:.1f}"),
        ("query encoded, p95 ms", lambda side: f"{side.encoding.p95:.1f}"),
        ("rows found, p50 ms", lambda side: f"{side.searching.p50:.1f}"),
        ("rows found, p95 ms", lambda side: f"{side.searching.p95:.1f}"),
        ("rows found by", lambda side: side.how),
    ]
    scores = [(name, f"{found.first:.4f}", f"{found.second:.4f}") for name, found in comparison.differences.items()]
    return [*scores, *((name, cell(sides[0]), cell(sides[1])) for name, cell in rows)]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f}"
