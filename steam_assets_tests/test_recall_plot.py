"""Recall and latency over ef_search as a picture small enough for an event."""

from steam_assets.defs.png import MAX_BYTES
from steam_assets.indexes.recall import MeasuredRecall, RecallPoint
from steam_assets.indexes.recall_plot import recall_plot


def test_the_plot_is_a_small_png() -> None:
    """One point is enough for one."""
    points = tuple(RecallPoint(ef, 1 - 1 / ef, ef / 50, ef / 20) for ef in (20, 40, 64, 100, 200, 400))
    for shown in (points, points[:1]):
        picture = recall_plot(MeasuredRecall(10, 200, 0.99, shown, None), "reviews.review_embedding: halfvec")
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(picture) < MAX_BYTES / 2
