"""Evaluations as a picture: how each way to search scores now, and how scores went from one evaluation to the next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steam_assets.evaluation.metrics import METRICS, Interval
from steam_assets.evaluation.score import Evaluation
from steam_assets.evaluation.stored import interval_of
from steam_assets.plots import figure, png
from steam_assets.store.evaluations import StoredEvaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVER_TIME = ("ndcg@10", "mrr@10", "recall@10")


def evaluations_png(evaluations: Sequence[Evaluation], history: Sequence[StoredEvaluation]) -> bytes:
    """On the left each evaluation's metrics with their intervals; on the right ``history``, which is newest first.

    History is of one query set, one digest and one way to search: others do not compare.
    """
    with figure(10.0, 4.0) as drawn:
        now, over_time = drawn.subplots(1, 2)
        _draw_now(now, evaluations)
        _draw_history(over_time, history)
        return png(drawn)


def _draw_now(axes: "Axes", evaluations: Sequence[Evaluation]) -> None:
    width = 0.8 / max(1, len(evaluations))
    for number, evaluation in enumerate(evaluations):
        found = [evaluation.metrics[name] for name in METRICS]
        places = [place + width * (number - (len(evaluations) - 1) / 2) for place in range(len(METRICS))]
        label = f"{evaluation.query_set}, {evaluation.how}, {len(evaluation.scores.query_ids):,} queries"
        axes.bar(places, [one.mean for one in found], width, label=label, yerr=_errors(found), capsize=3)
    axes.set_xticks(range(len(METRICS)), METRICS)
    axes.set_ylim(0, 1)
    axes.set_title("Means, with 95 % intervals")
    axes.legend(loc="lower right", fontsize="small", frameon=True)


def _draw_history(axes: "Axes", history: Sequence[StoredEvaluation]) -> None:
    oldest_first = list(reversed(history))
    for name in OVER_TIME:
        found = [interval_of(stored.metrics, name) for stored in oldest_first]
        axes.errorbar(
            range(len(found)), [one.mean for one in found], yerr=_errors(found), marker="o", capsize=3, label=name
        )
    axes.set_xticks(
        range(len(oldest_first)),
        [f"{stored.evaluated_at:%m-%d %H:%M}\nrun {stored.run_id}" for stored in oldest_first],
        fontsize="small",
    )
    axes.set_ylim(0, 1)
    axes.set_title("Evaluations of this set so far")
    axes.legend(loc="lower right", fontsize="small", frameon=True)


def _errors(found: Sequence[Interval]) -> list[list[float]]:
    """How far each interval reaches below and above its mean, as matplotlib takes it."""
    return [[max(0.0, one.mean - one.low) for one in found], [max(0.0, one.high - one.mean) for one in found]]
