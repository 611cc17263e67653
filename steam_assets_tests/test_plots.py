"""Pictures are PNG files, and nothing of them is left in the process."""

import struct

from steam_assets.plots import DOTS_PER_INCH, figure, png


def test_a_figure_becomes_a_png_of_its_size() -> None:
    """Inches times dots, in the header of the file."""
    with figure(4, 2) as drawn:
        drawn.add_subplot().plot([1, 2], [3, 4])
        file = png(drawn)
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", file[16:24]) == (4 * DOTS_PER_INCH, 2 * DOTS_PER_INCH)


def test_the_style_of_a_figure_is_its_own() -> None:
    """Whoever draws with matplotlib beside us sees none of it."""
    from matplotlib import rcParams

    before = rcParams["font.size"], rcParams["axes.grid"]
    with figure() as drawn:
        drawn.add_subplot()
        assert rcParams["axes.grid"] is True
    assert (rcParams["font.size"], rcParams["axes.grid"]) == before
