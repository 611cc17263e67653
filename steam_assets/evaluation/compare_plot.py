"""A comparison of two columns as a picture: what each scores, and how surely they differ."""

from typing import TYPE_CHECKING

from steam_assets.evaluation.compare import Comparison
from steam_assets.plots import COLORS, figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 0.38


def comparison_png(comparison: Comparison) -> bytes:
    """On the left the means of both columns; on the right their differences with intervals, and none where 0 is."""
    with figure(10.0, 3.6) as drawn:
        means, apart = drawn.subplots(1, 2)
        _draw_means(means, comparison)
        _draw_differences(apart, comparison)
        return png(drawn)


def _draw_means(axes: "Axes", comparison: Comparison) -> None:
    found = list(comparison.differences.values())
    for number, (side, values) in enumerate(
        ((comparison.first, [one.first for one in found]), (comparison.second, [one.second for one in found]))
    ):
        places = [place + WIDTH * (number - 0.5) for place in range(len(found))]
        bars = axes.bar(places, values, WIDTH, label=f"{side.column} ({side.model_name})")
        axes.bar_label(bars, fmt="%.3f", fontsize="small")
    axes.set_xticks(range(len(found)), list(comparison.differences))
    axes.set_ylim(0, 1.25)
    axes.set_title(f"Means over {found[0].queries:,} queries of {comparison.query_set}")
    axes.legend(loc="upper left", fontsize="small")


def _draw_differences(axes: "Axes", comparison: Comparison) -> None:
    for place, found in enumerate(comparison.differences.values()):
        reach = [[found.difference - found.low], [found.high - found.difference]]
        color = COLORS[2] if found.is_significant else COLORS[5]
        axes.errorbar([found.difference], [place], xerr=reach, marker="o", capsize=4, color=color)
        axes.annotate(f"p = {found.p_value:.4f}", (found.difference, place), (0, 8), textcoords="offset points")
    axes.axvline(0, color=COLORS[5], linewidth=1)
    axes.set_yticks(range(len(comparison.differences)), list(comparison.differences))
    axes.set_ylim(-0.5, len(comparison.differences) - 0.5)
    axes.set_title("Second less first, 95 % intervals")
