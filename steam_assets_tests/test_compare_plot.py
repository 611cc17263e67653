"""A comparison's picture is a PNG file that an event has room for."""

from dataclasses import replace
from pathlib import Path

from psycopg2.extensions import connection

from steam_assets.defs.png import MAX_BYTES
from steam_assets.evaluation.compare import compare
from steam_assets.evaluation.compare_plot import comparison_png
from steam_assets.evaluation.significance import Difference
from steam_assets_tests.compared import QUERIES, load, make_compared
from steam_assets_tests.rows import Connect


def test_a_comparison_is_drawn_from_its_numbers(conn: connection, connect: Connect, home: Path) -> None:
    """Another difference is another picture; the same one is the same."""
    first, second = make_compared(conn, home)
    found = compare(connect, first, second, QUERIES, load)
    drawn = comparison_png(found)
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < MAX_BYTES
    assert comparison_png(found) == drawn
    other = dict.fromkeys(found.differences, Difference(0.5, 0.5, 0.0, -0.1, 0.1, 0.8, 24))
    assert comparison_png(replace(found, differences=other)) != drawn
