"""A map as a PNG for the web UI: points by cluster, with as many names as have room. The page is html.py's."""

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.pictures.palette import color_of
from steam_assets.pictures.words import SEPARATOR
from steam_assets.plots import figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 6.8
MOST_POINTS = 60_000
"""More of them only hide each other."""
COLORS_IN_FILE = 128
"""A tenth of the bytes: a quarter of a million points made 1.1 MB, and an event has room for 300 KB."""


def map_png(drawn: EmbeddingMap) -> bytes:
    """The picture of a map."""
    with figure(WIDTH_INCHES, HEIGHT_INCHES) as fig:
        axes = fig.add_subplot()
        axes.set_axis_off()
        axes.set_title(f"{drawn.title}\n{drawn.subtitle}", fontsize=9.0, wrap=True)
        _draw_points(axes, drawn)
        _draw_names(fig, axes, drawn)
        return with_fewer_colors(png(fig))


def _draw_points(axes: "Axes", drawn: EmbeddingMap) -> None:
    rows = len(drawn.points)
    shown = np.random.default_rng(0).permutation(rows)[:MOST_POINTS]
    colors = np.array([color_of(cluster) for cluster in range(len(drawn.clusters.names))])
    x, y = drawn.layout.places[shown].T
    size = float(np.clip(40_000 / rows, 0.6, 40.0))
    axes.scatter(x, y, s=size, c=colors[drawn.clusters.of_row[shown]], linewidths=0, alpha=0.75)
    axes.set_aspect("equal", adjustable="datalim")


def _draw_names(fig: "Figure", axes: "Axes", drawn: EmbeddingMap) -> None:
    """The names of clusters, the largest first; one that would lie on another is not drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    fig.set_canvas(FigureCanvasAgg(fig))
    fig.draw_without_rendering()
    renderer: RendererBase = FigureCanvasAgg(fig).get_renderer()  # type: ignore[no-untyped-call]
    taken: list[Bbox] = []
    for cluster, name in enumerate(drawn.clusters.names):
        x, y = (float(number) for number in drawn.centre(cluster))
        label = axes.text(
            x,
            y,
            drawable(name) or f"cluster {cluster + 1}",
            horizontalalignment="center",
            verticalalignment="center",
            fontsize=8.0,
            fontweight="bold",
            color="#1d2a38",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
        box = label.get_window_extent(renderer)
        if any(box.overlaps(other) for other in taken):
            label.remove()
        else:
            taken.append(box)


def drawable(name: str) -> str:
    """The words of a cluster's name that matplotlib's own font has all letters of."""
    known = _letters_of_the_font()
    return SEPARATOR.join(word for word in name.split(SEPARATOR) if all(ord(letter) in known for letter in word))


@cache
def _letters_of_the_font() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont(FontProperties())).get_charmap())


def with_fewer_colors(picture: bytes) -> bytes:
    """The same PNG in COLORS_IN_FILE colours."""
    from PIL import Image

    file = BytesIO()
    with Image.open(BytesIO(picture)) as opened:
        opened.convert("RGB").quantize(COLORS_IN_FILE, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()
