"""How evaluations look on a terminal and in the web UI: tables as text and as Markdown."""

from collections.abc import Mapping, Sequence

from steam_assets.evaluation.breakdowns import Breakdown
from steam_assets.evaluation.compare import differences
from steam_assets.evaluation.known_items import IN_COLUMN
from steam_assets.evaluation.metrics import METRICS, Interval
from steam_assets.evaluation.score import Evaluation
from steam_assets.evaluation.stored import interval_of
from steam_assets.store.evaluations import StoredEvaluation
from steam_assets.terminal import duration, markdown_table, table


def evaluation_lines(evaluation: Evaluation) -> str:
    """What was evaluated, its scores, those of each group of queries, and what to know about them."""
    among = "the column's rows" if evaluation.documents is None else f"{evaluation.documents:,} documents"
    queries = len(evaluation.scores.query_ids)
    lines = [
        f"{evaluation.column}, run {evaluation.run_id} ({evaluation.model_name}): {evaluation.query_set}, "
        f"{evaluation.how}; {queries:,} queries among {among}, {duration(evaluation.seconds)}",
        _table("all", {"": evaluation.metrics}),
        *(_table(kind, groups) for kind, groups in evaluation.breakdowns.items() if len(groups) > 1),
        *(f"  ({notice})" for notice in evaluation.notices),
    ]
    if evaluation.query_set == IN_COLUMN:
        lines.append("  (the rows' texts may hold the queries: compare ways to search here, not models)")
    return "\n".join(lines)


def cost_lines(exact: Evaluation, other: Evaluation) -> str:
    """What another way to search the same rows gains or loses, query by query."""
    found = differences(exact, other)
    rows = [(name, f"{one.difference:+.4f}", f"{one.low:+.4f} to {one.high:+.4f}") for name, one in found.items()]
    return f"{other.how} against exact\n{table(('', 'difference', '95 % interval'), rows)}"


def history_lines(history: Sequence[StoredEvaluation]) -> str:
    """Evaluations, newest first, one a line; only those of one set's digest compare."""
    if not history:
        return "Nothing has been evaluated yet. Run `steam-assets evaluate`."
    rows = [
        (
            f"{stored.evaluated_at:%Y-%m-%d %H:%M}",
            f"{stored.query_set} {stored.query_set_digest[:8]}",
            stored.how,
            f"{stored.run_id} {stored.model_name}",
            stored.queries,
            *(_cell(interval_of(stored.metrics, name)) for name in ("ndcg@10", "mrr@10", "recall@10")),
        )
        for stored in history
    ]
    return table(("evaluated", "query set", "how", "run", "queries", "ndcg@10", "mrr@10", "recall@10"), rows, left=4)


def evaluations_table(evaluations: Sequence[Evaluation]) -> str:
    """The evaluations as a table for the web UI."""
    rows = [
        (e.query_set, e.how, f"{len(e.scores.query_ids):,}", *(_cell(e.metrics[name]) for name in METRICS))
        for e in evaluations
    ]
    return markdown_table(("query set", "how", "queries", *METRICS), rows, left=2)


def _table(kind: str, groups: Breakdown | Mapping[str, Mapping[str, Interval]]) -> str:
    rows = [
        (group or "queries", next(iter(metrics.values())).queries, *(_cell(metrics[name]) for name in METRICS))
        for group, metrics in groups.items()
    ]
    return table((kind, "queries", *METRICS), rows)


def _cell(found: Interval) -> str:
    """0.812 [0.790, 0.834]."""
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
