"""The web UI as a person uses it: a real browser, a real server, success read back from the database."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from steam_assets.sample import write_sample

CHROMIUM = "/usr/bin/chromium"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

# Without these it looks for hosts on the Internet; root needs --no-sandbox.
CHROMIUM_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SCREENSHOTS = os.environ.get("STEAM_ASSETS_SCREENSHOTS")
"""README's pictures are what this test sees: run it with this variable naming docs/."""
COLUMN = "/assets/applications/description_embedding"
PATIENCE_MS = 60_000
# Dagster's daemon looks at backfills every 30 s.
RUN_LIMIT_S, BACKFILL_LIMIT_S = 180.0, 300.0


@pytest.fixture
def database_of_home(home: Path, named_database: str, dagster_url: str) -> str:
    """A database with 40 sample applications and 60 reviews, none of them embedded."""
    files = write_sample(home, 40, 60)
    for arguments in (["init", "--model", "all-MiniLM-L6-v2"], ["load", *map(str, files)], ["ranges"]):
        subprocess.run([sys.executable, "-m", "steam_assets", *arguments], check=True, capture_output=True)
    return named_database


@pytest.fixture
def web_ui(database_of_home: str, home: Path) -> Iterator[str]:
    """The address of `steam-assets up`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "steam_assets", "up", "--port", str(port)]
    with (home / "up.out").open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as up:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: answers(url) or up.poll() is not None, 120, f"{url} answers")
            assert up.poll() is None, (home / "up.out").read_text()
            yield url
        finally:
            up.terminate()
            up.wait(60)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1500, "height": 850})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield page
        browser.close()


def test_a_person_fills_a_column_in_the_browser(web_ui: str, page: Page, database_of_home: str, tmp_path: Path) -> None:
    """The graph shows the assets; one range by one run, three by a backfill, and the checks turn green."""
    screenshots = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path

    page.goto(f"{web_ui}{COLUMN}?view=partitions")
    keys = range_keys(page)
    materialize(page, keys[:1], "Launch 1 run")
    wait_for(lambda: filled_ranges(database_of_home) == keys[:1], RUN_LIMIT_S, "the first range is filled")
    assert embedded_rows(database_of_home, keys[:1]) == embedded_rows(database_of_home, keys)

    page.goto(f"{web_ui}{COLUMN}?view=partitions")
    materialize(page, keys[1:4], "Launch backfill")
    wait_for(lambda: filled_ranges(database_of_home) == keys[:4], BACKFILL_LIMIT_S, "three more ranges are filled")

    page.goto(f"{web_ui}{COLUMN}?view=partitions")
    expect(page.get_by_text("Materialized (4)")).to_be_visible()
    page.get_by_text(keys[1]).first.click()
    expect(page.get_by_text("rows_per_s")).to_be_visible()
    page.screenshot(path=screenshots / "partitions.png")

    page.goto(f"{web_ui}{COLUMN}?view=checks")
    expect(page.get_by_text("Succeeded")).to_have_count(6)
    page.get_by_text("coverage", exact=True).first.click()
    expect(page.get_by_text("coverage_percent").first).to_be_visible()
    page.screenshot(path=screenshots / "checks.png")

    page.goto(f"{web_ui}/asset-groups")
    for name in ("applications", "description_embedding", "reviews", "review_embedding"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("6 / 6 Passed")).to_be_visible()
    page.screenshot(path=screenshots / "asset-graph.png")


def range_keys(page: Page) -> list[str]:
    """The ranges as the partitions page lists them."""
    first = page.get_by_text(re.compile(r"^~:")).first
    expect(first).to_be_visible()
    texts = page.get_by_text(re.compile(r"^[\d~]+:[\d~]+$")).all_inner_texts()
    # Each is there twice: in full, and as it is shown where there is little room.
    return list(dict.fromkeys(text.strip() for text in texts))


def materialize(page: Page, keys: list[str], button: str) -> None:
    """Choose ranges in the dialog and launch them."""
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    for chosen, key in enumerate(keys, start=1):
        page.get_by_role("menuitem").filter(has_text=key).click()
        expect(page.get_by_text(re.compile(rf"^{chosen} partitions?$"))).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("button", name=button)).to_be_hidden()


def filled_ranges(database_url: str) -> list[str]:
    """The keys of ranges with a finished attempt, in the order of their ids."""
    statement = "SELECT range_key FROM embedding_run_ranges WHERE status = 'done' GROUP BY 1 ORDER BY min(range_id)"
    return [str(key) for (key,) in query(database_url, statement)]


def embedded_rows(database_url: str, keys: list[str]) -> int:
    """Applications with a vector whose id lies in the stretch of these neighbouring ranges."""
    start, stop = keys[0].split(":")[0], keys[-1].split(":")[1]
    bounds = [int(bound) for bound in (start.replace("~", "-1"), stop)]
    ((rows,),) = query(
        database_url,
        "SELECT count(description_embedding) FROM applications WHERE appid >= %s AND appid < %s",
        *bounds,
    )
    return int(str(rows))


def query(database_url: str, statement: str, *values: int) -> list[tuple[object, ...]]:
    conn = psycopg2.connect(database_url)
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        conn.close()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310  (our own server)
            return True
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s in vain until {what}"
        time.sleep(0.5)
