"""The picture is small enough for an event, and takes any name."""

import struct
from dataclasses import replace
from io import BytesIO

import numpy as np

from steam_assets.defs.png import MAX_BYTES
from steam_assets.pictures.groups import Groups
from steam_assets.pictures.layout import Layout
from steam_assets.pictures.map_png import HEIGHT_INCHES, WIDTH_INCHES, drawable, map_png, with_fewer_colors
from steam_assets.pictures.palette import GROUP_COLORS, color_of
from steam_assets.plots import DOTS_PER_INCH, figure, png
from steam_assets_tests.maps import made_up_map


def test_the_picture_is_a_png_of_its_size() -> None:
    """Inches times dots, in the header of the file."""
    picture = map_png(made_up_map(60))
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    size = round(WIDTH_INCHES * DOTS_PER_INCH), round(HEIGHT_INCHES * DOTS_PER_INCH)
    assert struct.unpack(">II", picture[16:24]) == size


def test_a_large_map_fits_into_an_event() -> None:
    """A cloud without order is the worst case: nothing in it compresses."""
    drawn = made_up_map(50_000)
    cloud = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
    assert len(map_png(replace(drawn, layout=Layout(cloud, "PCA")))) < MAX_BYTES


def test_the_same_map_is_the_same_picture() -> None:
    """Which points hide which is not left to chance."""
    assert map_png(made_up_map(60)) == map_png(made_up_map(60))


def test_names_with_signs_of_formulas_or_of_other_scripts_are_drawn() -> None:
    """No dollar begins a formula, and no letter that the font lacks stops the picture."""
    map_png(made_up_map(200, clusters=["$x_{", "农场 · 模拟", "ферма · 農場", "\\frac · 50%"]))
    assert drawable("ферма · 農場 · farm") == "ферма · farm"
    assert drawable("农场 · 模拟") == ""


def test_points_have_the_colour_of_their_cluster() -> None:
    """The largest cluster has the first colour, which is then on the picture."""
    from PIL import Image

    drawn = made_up_map(40)
    all_in_one = Groups(("farm",), np.zeros(40, dtype=np.uint8))
    # The name stands where most of them are; the others lie on each other beside it.
    places = np.repeat(np.array([[0, 0], [1, 1]], dtype=np.float32), (15, 25), axis=0)
    picture = map_png(replace(drawn, clusters=all_in_one, layout=Layout(places, "PCA")))
    with Image.open(BytesIO(picture)) as opened:
        colors = {pixel for _, pixel in opened.convert("RGB").getcolors(1 << 20) or ()}
    wanted = np.array([int(GROUP_COLORS[0][at : at + 2], 16) for at in (1, 3, 5)])
    assert min(np.abs(np.array(color) - wanted).max() for color in colors) < 8


def test_groups_beyond_the_colours_take_them_in_turn() -> None:
    """Thirty-six clusters have twelve colours."""
    assert color_of(len(GROUP_COLORS)) == color_of(0) != color_of(1)
    assert len(set(GROUP_COLORS)) == len(GROUP_COLORS) == 12


def test_fewer_colours_are_fewer_bytes() -> None:
    """Of a cloud of points, where it matters."""
    with figure(4, 4) as drawn:
        x, y = np.random.default_rng(0).normal(size=(2, 5_000))
        drawn.add_subplot().scatter(x, y, s=2, alpha=0.5)
        full = png(drawn)
    assert len(with_fewer_colors(full)) < len(full) / 2
