"""`steam-assets map` writes a page and says where it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.maps import fill_applications

SteamAssets = Callable[..., Ended]


@pytest.fixture
def filled(tables: connection) -> connection:
    """Applications with vectors of their run, and genres."""
    fill_applications(tables)
    return tables


def test_a_map_is_written_into_the_home(filled: connection, steam_assets: SteamAssets, home: Path) -> None:
    """Without an argument it is that of the applications, and the last line says what to open."""
    ended = steam_assets("map", "--method", "pca")
    page = home / "maps" / "applications.description_embedding.html"
    assert ended.code == 0, ended
    assert ended.out.splitlines() == [
        "applications.description_embedding: 24 rows; PCA of run 1 (sentence-transformers/all-MiniLM-L6-v2).",
        f"{page} - open it in a browser.",
    ]
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "reading 24 vectors" in ended.err


def test_a_script_gets_json_and_its_own_files(
    filled: connection, steam_assets: SteamAssets, home: Path, tmp_path: Path
) -> None:
    """What is on the map, and the two files that were asked for."""
    page, png = tmp_path / "map.html", tmp_path / "map.png"
    options = ["--out", str(page), "--png", str(png), "--sample", "20", "--method", "pca", "--json"]
    ended = steam_assets("map", "applications", *options)
    said = json.loads(ended.out)

    assert (said["rows"], said["not_sampled"], said["method"]) == (20, 4, "PCA")
    assert (said["page"], said["png"]) == (str(page), str(png))
    assert sum(cluster["rows"] for cluster in said["clusters"]) == 20
    assert png.read_bytes().startswith(b"\x89PNG")
    assert not (home / "maps").exists()


REFUSED = {
    "reviews": "has 0 rows with a vector of run 2; a map needs at least 3. Run `steam-assets embed",
    "nothing": "'nothing' names 0 columns; expected one of",
    "--out missing/map.html": "missing/map.html cannot be written",
}


def test_what_cannot_be_drawn_is_one_line_and_exit_2(filled: connection, steam_assets: SteamAssets) -> None:
    """What was found, what is expected, and what to do."""
    for arguments, message in REFUSED.items():
        assert message in one_line(steam_assets("map", *arguments.split()), 2)
