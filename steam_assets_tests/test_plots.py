"""Pictures are PNG files, and nothing of them is left in the process."""

import struct
import threading

from steam_assets.plots import DOTS_PER_INCH, figure, png


def test_a_figure_becomes_a_png_of_its_size() -> None:
    """Inches times dots, in the header of the file."""
    with figure(4, 2) as drawn:
        drawn.add_subplot().plot([1, 2], [3, 4])
        file = png(drawn)
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", file[16:24]) == (4 * DOTS_PER_INCH, 2 * DOTS_PER_INCH)


def test_a_dollar_in_a_name_begins_no_formula() -> None:
    """Titles and labels are names of models and of folders, whatever those are called."""
    with figure(4, 2) as drawn:
        axes = drawn.add_subplot()
        axes.plot([1, 2], [3, 4], label="$x_{")
        axes.set_title("$x_{$")
        axes.legend()
        assert png(drawn)


def test_the_style_of_a_figure_is_its_own() -> None:
    """Whoever draws with matplotlib beside us sees none of it, and of two threads that draw one waits for the other."""
    from matplotlib import rcParams

    before = rcParams["font.size"], rcParams["axes.grid"]
    waiting, waited = threading.Event(), threading.Event()

    def draw() -> None:
        waiting.set()
        with figure(4, 2):
            waited.set()

    thread = threading.Thread(target=draw)
    with figure(4, 2) as drawn:
        thread.start()
        drawn.add_subplot()
        assert rcParams["axes.grid"] is True
        assert waiting.wait(10)
        assert not waited.wait(0.1)
    thread.join(10)
    assert waited.is_set()
    assert (rcParams["font.size"], rcParams["axes.grid"]) == before
