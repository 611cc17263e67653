"""How our pictures look: figures of one style, as PNG. What they show is drawn where it was measured."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

DOTS_PER_INCH = 110
COLORS = ("#2458a6", "#d1601f", "#2d8659", "#8b3f97", "#a08415", "#5b6770")
STYLE: "dict[RcKeyType, Any]" = {
    "axes.edgecolor": "#5b6770",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "grid.alpha": 0.35,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in somebody's name begins no formula
}

_drawing = threading.RLock()
"""A style is the whole process's while a figure is drawn."""


@contextmanager
def figure(width_inches: float, height_inches: float) -> Iterator["Figure"]:
    """An empty figure of our style, to be drawn on and turned into a PNG inside the block.

    It belongs to no window and to no pyplot, so nothing is left of it afterwards. Any thread may draw; others wait.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    with _drawing, rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLORS)}):
        yield Figure(figsize=(width_inches, height_inches))


def png(drawn: "Figure") -> bytes:
    """A figure as a PNG file."""
    file = BytesIO()
    drawn.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()
