"""The page holds everything itself, and nothing in the database can make it do something else."""

import gzip
import hashlib
import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import numpy as np

from steam_assets.columns import TextColumn
from steam_assets.pictures.html import WORLD, map_html, packed, page_part, whole_places
from steam_assets.pictures.layout import Layout
from steam_assets.pictures.map_png import MOST_POINTS
from steam_assets_tests.maps import GENRES, made_up_map, made_up_points

EVIL = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "a\tb\nc", "[data]", "", "日本語 🎮"]
BYTES_A_ROW = 60
"""What a row may take of the page; names of 20 letters that hardly compress need 40."""


class Unpacked:
    """The arrays of a page, as its script reads them."""

    def __init__(self, page: str) -> None:
        found = re.search(r'<script id="data" type="application/octet-stream">([A-Za-z0-9+/=]+)</script>', page)
        assert found is not None
        data = gzip.decompress(b64decode(found[1]))
        begin = 4 + int.from_bytes(data[:4], "little")
        assert begin % 4 == 0
        self.header: dict[str, Any] = json.loads(data[4:begin])
        rows = self.header["rows"]
        self.places = np.frombuffer(data, "<u2", 2 * rows, begin).reshape(rows, 2)
        self.set_of_row = np.frombuffer(data, "<u2", rows, begin + 4 * rows)
        ways = len(self.header["ways"])
        self.group_of_row = np.frombuffer(data, "u1", ways * rows, begin + 6 * rows).reshape(ways, rows)
        self.lines = data[begin + (6 + ways) * rows :].decode().removesuffix("\n").split("\n")


def test_the_page_holds_every_row() -> None:
    """Id, name, genres, cluster and place of each, in one order."""
    drawn = made_up_map(60, names=["Lantern Valley", *EVIL])
    found = Unpacked(map_html(drawn))

    assert found.header["rows"] == len(found.lines) == 60
    assert found.lines[:3] == ["0\tLantern Valley", f"10\t{EVIL[0]}", f"20\t{EVIL[1]}"]
    assert found.lines[3] == "30\ta b c"
    assert found.lines[5:7] == ["50\t", "60\t日本語 🎮"]
    assert [tuple(found.header["sets"][n]) for n in found.set_of_row] == [GENRES[row % 4] for row in range(60)]
    assert [way["noun"] for way in found.header["ways"]] == ["cluster", "genre"]
    assert found.group_of_row[0].tolist() == drawn.clusters.of_row.tolist()
    genres = [group["name"] for group in found.header["ways"][1]["groups"]]
    assert [genres[n] for n in found.group_of_row[1][:4]] == ["Indie", "RPG", "Strategy", "other"]
    assert sum(group["size"] for group in found.header["ways"][1]["groups"]) == 60


def test_no_text_of_the_database_is_markup_on_the_page() -> None:
    """A game called </script><script> is a name like any other: outside the packed data no such text is left."""
    named = made_up_map(60, names=EVIL, clusters=["</script><script>", "[script]"])
    column = TextColumn(table="<script>alert(3)</script>", id="i", text="t", vector="<b>")
    page = map_html(replace(named, points=replace(named.points, column=column, model_name="<i>[style]")))

    assert page.count("<script") == page.count("</script>") == 2
    assert "<script>alert" not in page
    assert "onerror" not in page
    assert "<title>&lt;script&gt;alert(3)&lt;/script&gt;.&lt;b&gt;: 60 rows</title>" in page
    assert "&lt;i&gt;[style]" in page


def test_the_page_may_load_nothing_and_run_nothing_but_its_own_script() -> None:
    """The policy names the digests of the very script and style that are there."""
    page = map_html(made_up_map(20))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)

    assert policy.startswith("default-src 'none'; ")
    assert f"script-src '{digest(script)}'" in policy
    assert f"style-src '{digest(style)}'" in policy
    assert not re.search(
        r"https?://|//[a-z]|@import|\bfetch\(|XMLHttpRequest|\beval\(|innerHTML",
        page[: page.find("<script id")] + script,
    )
    assert " style=" not in page


def digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_the_script_takes_no_html_from_anywhere() -> None:
    """Texts become text nodes."""
    script = page_part("map.js") + page_part("panel.js")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|new Function", script)


def test_a_map_without_groups_is_coloured_by_cluster_alone() -> None:
    """Reviews without a language, tables without genres."""
    found = Unpacked(map_html(replace(made_up_map(30), groups=None)))
    assert [way["noun"] for way in found.header["ways"]] == ["cluster"]
    assert found.group_of_row.shape == (1, 30)


def test_a_large_map_stays_a_file_to_be_mailed() -> None:
    """At most BYTES_A_ROW for a row, the page itself aside: 15 MB for a quarter of a million."""
    rows = 2 * MOST_POINTS
    random = np.random.default_rng(0)
    letters = random.integers(97, 123, size=(rows, 20), dtype=np.uint8)
    points = made_up_points(rows, names=[bytes(row).decode() for row in letters])
    small = made_up_map(100)
    drawn = replace(
        small,
        points=points,
        layout=Layout(random.normal(size=(rows, 2)).astype(np.float32), "PCA"),
        clusters=replace(small.clusters, of_row=random.integers(0, len(small.clusters.names), rows, dtype=np.uint8)),
        groups=None,
    )
    assert len(map_html(drawn)) - len(map_html(small)) < BYTES_A_ROW * rows


def test_the_same_map_is_the_same_page() -> None:
    """No time and no chance is in it."""
    assert map_html(made_up_map(40)) == map_html(made_up_map(40))
    assert packed(made_up_map(40)) != packed(made_up_map(41))


def test_places_keep_their_proportions() -> None:
    """A map twice as wide as high stays so, with the origin of a screen."""
    places = np.array([[0, 0], [4, 2], [2, 1]], dtype=np.float32)
    quarter, half, most = WORLD // 4, WORLD // 2, WORLD
    found = whole_places(places).astype(int)
    np.testing.assert_allclose(found, [[0, 3 * quarter], [most, quarter], [half, half]], atol=2)


def test_places_that_are_all_one_are_the_middle() -> None:
    """Nothing is divided by nothing."""
    np.testing.assert_allclose(whole_places(np.zeros((5, 2), dtype=np.float32)).astype(int), WORLD / 2, atol=1)
