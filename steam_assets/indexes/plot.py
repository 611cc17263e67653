"""Variants of an index as a picture: recall beside latency for each ef_search, and the sizes."""

from collections.abc import Sequence

from steam_assets.indexes.recall import RECALL
from steam_assets.plots import figure, png
from steam_assets.store.variant_records import EXACT, VariantFigures


def plot_variants(title: str, figures: Sequence[VariantFigures]) -> bytes:
    """A PNG: recall@10 over p95 latency, a line for a variant and a point for each ef_search; beside it the sizes.

    ef_search stands at the points, up to the first that finds enough: those beyond it lie at the same height.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    variants = list(dict.fromkeys(row.variant for row in figures if row.variant != EXACT))
    exact = [row for row in figures if row.variant == EXACT]
    with figure(9.0, 4.0) as drawn:
        speed, size = drawn.subplots(1, 2, gridspec_kw={"width_ratios": [2, 1]})
        for variant in variants:
            rows = [row for row in figures if row.variant == variant]
            speed.plot([row.ms_p95 for row in rows], [row.recall_10 for row in rows], marker="o", label=variant)
            enough = next((n for n, row in enumerate(rows) if row.recall_10 >= RECALL), len(rows))
            for row in rows[: enough + 1]:
                speed.annotate(
                    str(row.ef_search),
                    (row.ms_p95, row.recall_10),
                    textcoords="offset points",
                    xytext=(4, -10),
                    fontsize=7,
                )
        for row in exact:
            speed.plot([row.ms_p95], [row.recall_10], marker="*", linestyle="", color="#222222", label="every row")
        speed.set_xscale("log")
        speed.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        speed.xaxis.set_major_formatter("{x:g}")
        speed.xaxis.set_minor_formatter(NullFormatter())
        speed.set(xlabel="p95 latency of 10 hits, ms", ylabel="recall@10", title=title)
        speed.legend(fontsize=8)
        sizes = {variant: next(row.bytes for row in figures if row.variant == variant) / 1e6 for variant in variants}
        bars = size.barh(list(sizes), list(sizes.values()))
        size.bar_label(bars, fmt="{:,.1f}", fontsize=8, padding=2)
        size.margins(x=0.2)
        size.invert_yaxis()
        size.set(xlabel="MB", title="size of the index")
        return png(drawn)
