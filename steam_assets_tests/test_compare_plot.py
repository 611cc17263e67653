"""A comparison's picture is a PNG file that an event has room for."""

from dataclasses import replace

from steam_assets.defs.png import MAX_BYTES
from steam_assets.evaluation.compare import Comparison
from steam_assets.evaluation.compare_plot import comparison_png
from steam_assets.evaluation.significance import Difference


def test_a_comparison_is_drawn_from_its_numbers(compared: Comparison) -> None:
    """Another difference is another picture; the same one is the same."""
    drawn = comparison_png(compared)
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < MAX_BYTES
    assert comparison_png(compared) == drawn
    other = dict.fromkeys(compared.differences, Difference(0.5, 0.5, 0.0, -0.1, 0.1, 0.8, 24))
    assert comparison_png(replace(compared, differences=other)) != drawn
