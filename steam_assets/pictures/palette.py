"""Colours of groups on a map, the same in the picture and on the page."""

from steam_assets.plots import COLORS

GROUP_COLORS = (*COLORS, "#c2387a", "#2a9fb0", "#7aa11f", "#b0413e", "#6a6fd1", "#b58a4c")
OTHER_COLOR = "#b9c0c6"


def color_of(group: int) -> str:
    """A group's colour; twelve take turns."""
    return GROUP_COLORS[group % len(GROUP_COLORS)]
