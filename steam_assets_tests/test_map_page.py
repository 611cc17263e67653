"""The page of a map as a person uses it: a real browser without a network."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from steam_assets.pictures.clusters import cluster_count
from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.pictures.html import WORLD, map_html, whole_places
from steam_assets.pictures.layout import Layout
from steam_assets.sample import write_sample
from steam_assets_tests.databases import wait_until
from steam_assets_tests.maps import made_up_map, made_up_points
from steam_assets_tests.test_browser import CHROMIUM, CHROMIUM_OPTIONS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]
SCREENSHOTS = os.environ.get("STEAM_ASSETS_SCREENSHOTS")
WIDTH, HEIGHT, PANEL = 1200, 800, 290
EVIL = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
MANY = 250_000
SAMPLE_ROWS = 600
FRAME_LIMIT_MS = 200.0
"""On a busy machine; alone a frame takes a tenth of it, and drawn as discs two seconds."""


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    """A page of a browser that has no network; it fails the test on any message of the console but plain words."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
        yield context.new_page()
        browser.close()


@contextmanager
def opened(page: Page, drawn: EmbeddingMap, folder: Path) -> Iterator[None]:
    """The map's page, opened from its file; what its console says meanwhile is an error."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    file = folder / "map.html"
    file.write_text(map_html(drawn), encoding="utf-8")
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-frame-ms]")
    yield
    assert said == []


def on_screen(drawn: EmbeddingMap, row: int) -> tuple[float, float]:
    """Where a row lies when the page has just been opened."""
    scale = 0.92 * min(WIDTH - PANEL, HEIGHT) / WORLD
    x, y = (float(number) for number in whole_places(drawn.layout.places)[row])
    return PANEL + (WIDTH - PANEL - WORLD * scale) / 2 + x * scale, (HEIGHT - WORLD * scale) / 2 + y * scale


def pixel(page: Page, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the screen."""
    from PIL import Image

    with Image.open(BytesIO(page.screenshot())) as opened:
        return cast(tuple[int, ...], opened.convert("RGB").getpixel((round(x), round(y))))


def apart(rows: int, names: list[str], clusters: list[str]) -> EmbeddingMap:
    """A map whose rows lie on a grid, far from each other."""
    side = int(np.ceil(np.sqrt(rows)))
    places = np.array([[row % side, row // side] for row in range(rows)], dtype=np.float32)
    return replace(made_up_map(rows, names, clusters), layout=Layout(places, "PCA"))


def test_a_person_finds_out_what_lies_where(browser_page: Page, tmp_path: Path) -> None:
    """Hovering names a row, its genres and its cluster; away from all rows nothing is said."""
    page, drawn = browser_page, apart(25, ["Lantern Valley", "Rail Baron"], ["farm · turnips", "trains"])
    with opened(page, drawn, tmp_path):
        page.mouse.move(*on_screen(drawn, 1))
        hover = page.locator("#hover")
        expect(hover).to_be_visible()
        expect(hover).to_contain_text("Rail Baron")
        expect(hover).to_contain_text("appid 10 · Action · RPG")
        expect(hover).to_contain_text(drawn.clusters.names[int(drawn.clusters.of_row[1])])
        between = (on_screen(drawn, 0)[0] + on_screen(drawn, 1)[0]) / 2
        page.mouse.move(between, on_screen(drawn, 0)[1])
        expect(hover).to_be_hidden()


def test_colours_are_switched_between_clusters_and_genres(browser_page: Page, tmp_path: Path) -> None:
    """The legend and the points follow; an entry of the legend leaves only its own rows in colour."""
    page, drawn = browser_page, apart(24, [], ["farm", "trains"])
    x, y = on_screen(drawn, 1)
    with opened(page, drawn, tmp_path):
        legend = page.locator("#legend")
        expect(legend).to_contain_text("RPG")
        by_genre = pixel(page, x, y)
        page.get_by_label("cluster").check()
        expect(legend).to_contain_text("farm")
        expect(legend).not_to_contain_text("RPG")
        wait_until(lambda: pixel(page, x, y) != by_genre, "the row has the colour of its cluster")
        page.get_by_label("genre").check()
        page.get_by_role("button", name="Strategy").click()
        expect(page.get_by_role("button", name="Strategy")).to_have_attribute("aria-pressed", "true")
        wait_until(lambda: np.ptp(pixel(page, x, y)) < 16, "a row of another genre is grey")


def test_names_are_searched_and_gone_to(browser_page: Page, tmp_path: Path) -> None:
    """In any case of letters; a hit is brought to the middle of the screen."""
    page, drawn = browser_page, apart(400, ["Lantern Valley", "Rail Baron", "Valley of Kings"], [])
    with opened(page, drawn, tmp_path):
        page.get_by_label("Find a name").fill("vALLEY")
        expect(page.locator("#found")).to_have_text("2 found")
        page.locator("#hits").get_by_role("button", name="Valley of Kings").click()
        page.mouse.move(WIDTH / 2, HEIGHT / 2)
        expect(page.locator("#hover")).to_contain_text("Valley of Kings")
        page.get_by_label("Find a name").fill("nothing like it")
        expect(page.locator("#found")).to_have_text("0 found")


def test_the_map_is_zoomed_and_moved(browser_page: Page, tmp_path: Path) -> None:
    """The place under the mouse stays there with the wheel, follows it when dragged, and 0 brings all back."""
    page, drawn = browser_page, apart(400, [f"Row {n}" for n in range(400)], [])
    x, y = on_screen(drawn, 210)
    hover = page.locator("#hover")
    with opened(page, drawn, tmp_path):
        page.mouse.move(x, y)
        expect(hover).to_contain_text("Row 210")
        page.mouse.wheel(0, -600)
        page.mouse.move(x + 3, y + 3)
        expect(hover).to_contain_text("Row 210")
        page.mouse.down()
        page.mouse.move(x + 203, y - 97, steps=4)
        page.mouse.up()
        page.mouse.move(x + 200, y - 100)
        expect(hover).to_contain_text("Row 210")
        page.locator("#labels").focus()
        page.keyboard.press("0")
        page.mouse.move(x, y)
        expect(hover).to_contain_text("Row 210")


def test_a_hostile_name_is_only_a_name(browser_page: Page, tmp_path: Path) -> None:
    """In the hover, the hits and the legend it is text, and the page's title stays ours."""
    page, drawn = browser_page, apart(9, [EVIL] * 9, [EVIL])
    with opened(page, drawn, tmp_path):
        page.mouse.move(*on_screen(drawn, 4))
        expect(page.locator("#hover strong")).to_have_text(EVIL)
        page.get_by_label("Find a name").fill("script")
        expect(page.locator("#hits button")).to_have_count(9)
        page.get_by_label("cluster").check()
        expect(page.locator("#legend")).to_contain_text("</script>")
        assert page.title() == drawn.title
        assert page.locator("img").count() == 0


@pytest.mark.usefixtures("dagster_url")
def test_the_sample_becomes_a_map_that_can_be_read(browser_page: Page, home: Path, tmp_path: Path) -> None:
    """From the loaded sample to UMAP's map in the browser, by README's commands; its clusters have names of words."""
    files = write_sample(home, SAMPLE_ROWS, 10)
    page_file = tmp_path / "map.html"
    for command in (
        *(["init", "--model", "all-MiniLM-L6-v2"], ["load", *map(str, files)], ["embed", "applications"]),
        ["map", "applications", "--method", "umap", "--out", str(page_file)],
    ):
        # In a process of its own: Dagster has a loop in this thread, and so has the browser.
        ended = subprocess.run([sys.executable, "-m", "steam_assets", *command], capture_output=True, text=True)
        assert ended.returncode == 0, ended

    browser_page.goto(page_file.as_uri())
    browser_page.wait_for_selector("body[data-frame-ms]")
    browser_page.get_by_label("cluster").check()
    names = browser_page.locator("#legend span").all_inner_texts()
    assert len(names) == cluster_count(SAMPLE_ROWS)
    assert all(re.fullmatch(r"\w+( · \w+)*", name) for name in names), names
    assert not any(name.startswith("cluster") for name in names), names
    browser_page.screenshot(path=(Path(SCREENSHOTS) if SCREENSHOTS else tmp_path) / "embedding-map.png")


def test_a_quarter_of_a_million_points_are_drawn_while_one_looks(browser_page: Page, tmp_path: Path) -> None:
    """Frames come quickly at any zoom, and hovering still finds names."""
    page, random = browser_page, np.random.default_rng(0)
    small = made_up_map(100)
    drawn = replace(
        small,
        points=made_up_points(MANY),
        layout=Layout(random.normal(size=(MANY, 2)).astype(np.float32), "PCA"),
        clusters=replace(small.clusters, of_row=random.integers(0, 3, MANY, dtype=np.uint8)),
        groups=None,
    )
    with opened(page, drawn, tmp_path):
        times = []
        page.mouse.move(*on_screen(drawn, 12_345))
        for turns in (-200, -200, -200, -200, 300, 300):
            page.evaluate("delete document.body.dataset.frameMs")
            page.mouse.wheel(0, turns)
            page.wait_for_selector("body[data-frame-ms]")
            times.append(float(page.locator("body").get_attribute("data-frame-ms") or "inf"))
        page.mouse.move(*on_screen(drawn, 12_345))
        expect(page.locator("#hover")).to_contain_text(re.compile(r"Game \d+"))
        assert float(np.median(times)) < FRAME_LIMIT_MS, times
