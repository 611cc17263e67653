"""Maps are files of the home, one for each column."""

from dataclasses import replace
from pathlib import Path

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.pictures.output import place_in_home
from steam_assets_tests.maps import made_up_map


def test_a_column_s_map_is_in_the_home(home: Path) -> None:
    """Under the column's name: of two texts of one table both may be searched."""
    drawn = made_up_map(5)
    assert drawn.points.column is APPLICATIONS
    assert place_in_home(drawn) == home / "maps" / "applications.description_embedding.html"


def test_a_table_s_name_leads_to_no_other_folder(home: Path) -> None:
    """PostgreSQL takes any name."""
    column = TextColumn(table="../../etc/passwd", id="id", text="t", vector="v")
    drawn = made_up_map(5)
    place = place_in_home(replace(drawn, points=replace(drawn.points, column=column)))
    assert place.parent == home / "maps"
    assert place.resolve().parent == home / "maps"
