"""Recall and latency of an index over ef_search, drawn. Measuring is recall.py's."""

from steam_assets.indexes.recall import MeasuredRecall
from steam_assets.plots import figure, png


def recall_plot(measured: MeasuredRecall, title: str) -> bytes:
    """Two panels over ef_search as a PNG: recall with the one asked for, and milliseconds of a search."""
    at = [point.ef_search for point in measured.points]
    with figure(8.0, 3.4) as drawn:
        recall, latency = drawn.subplots(1, 2)
        recall.plot(at, [point.recall for point in measured.points], marker="o")
        recall.axhline(measured.asked, linestyle="--", color="#5b6770", label=f"asked: {measured.asked:g}")
        recall.plot(measured.chosen.ef_search, measured.chosen.recall, "o", markersize=11, fillstyle="none")
        recall.set_title(f"Recall@{measured.k}")
        recall.legend()
        for name in ("p50", "p95"):
            latency.plot(at, [getattr(point, f"{name}_ms") for point in measured.points], marker="o", label=name)
        latency.set_title("Milliseconds of a search")
        latency.set_ylim(bottom=0)
        latency.legend()
        for panel in (recall, latency):
            panel.set_xlabel("hnsw.ef_search")
        drawn.suptitle(title)
        return png(drawn)
