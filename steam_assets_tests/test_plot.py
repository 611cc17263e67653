"""The picture of the variants is a PNG that fits an event, whatever was measured."""

from steam_assets.defs.png import MAX_BYTES
from steam_assets.indexes.plot import plot_variants
from steam_assets_tests.figures import BIT, BIT_EARLY, HALFVEC, SLOW_EXACT, VECTOR


def test_variants_are_drawn_with_a_line_for_each_and_their_sizes() -> None:
    """More variants make another picture; a measurement of the exact search alone is drawn too."""
    few = plot_variants("notes", [SLOW_EXACT, HALFVEC])
    more = plot_variants("notes", [SLOW_EXACT, VECTOR, HALFVEC, BIT_EARLY, BIT])
    for drawn in (few, more, plot_variants("notes", [SLOW_EXACT])):
        assert drawn.startswith(b"\x89PNG")
        assert len(drawn) < MAX_BYTES
    assert few != more
