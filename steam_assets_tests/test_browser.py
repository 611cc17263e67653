"""The web UI as a person uses it: a real browser, a real server, success read back from the database."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from steam_assets.id_range import IdRange
from steam_assets.sample import write_sample
from steam_assets_tests import web_api
from steam_assets_tests.web_api import wait_for

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
TERMINATED_WITHIN_S = 60.0
"""3 s are promised on a quiet machine; the browser and the servers share this one's two cores."""
RECORD_FAILURE = """
    INSERT INTO embedding_failures (table_name, vector_column, id, run_id, source_md5, kind, reason)
    SELECT 'applications', 'description_embedding', appid::text, embedding_run_id, md5(combined_text)::uuid, 'failed',
           'the model refuses this text'
    FROM applications
    WHERE appid = %s
"""
ADD_LONG_TEXTS = """
    INSERT INTO applications (appid, name, about_the_game)
    SELECT newest + n, 'Long ' || n, repeat('A long story of farms and dragons. ', 60)
    FROM generate_series(1, %s) AS n, (SELECT max(appid) AS newest FROM applications) AS known
"""
LONG_TEXTS = 20_000
"""So many take MiniLM minutes: there is time to press Terminate."""


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
    with web_api.web_ui(home / "up.out") as ui:
        yield ui.url


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


def test_a_person_sees_what_is_wrong_and_stops_a_run(
    web_ui: str, page: Page, database_of_home: str, tmp_path: Path
) -> None:
    """A changed text and a failed row turn their range red, by name; Terminate ends a run, and its record says so."""
    screenshots = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    subprocess.run([sys.executable, "-m", "steam_assets", "embed", "applications"], check=True, capture_output=True)
    ((changed,), (failed,)) = query(database_of_home, "SELECT appid FROM applications ORDER BY appid OFFSET 20 LIMIT 2")
    change(database_of_home, "UPDATE applications SET about_the_game = 'Now with dragons.' WHERE appid = %s", changed)
    change(database_of_home, RECORD_FAILURE, failed)

    assert coverage_shows(page, web_ui, "Passed (9)")
    page.get_by_role("button", name="Execute all").click()
    wait_for(lambda: coverage_shows(page, web_ui, "Failed (1)"), RUN_LIMIT_S, "the changed range is red")
    key = range_of(database_of_home, changed)
    page.get_by_title(key).or_(page.get_by_text(key)).first.click()
    for said in (str(changed), str(failed), "the model refuses this text", "steam-assets failures"):
        expect(page.get_by_text(said).first).to_be_visible()
    page.screenshot(path=screenshots / "red-check.png")

    change(database_of_home, ADD_LONG_TEXTS, LONG_TEXTS)
    page.goto(f"{web_ui}{COLUMN}?view=partitions")
    last = range_keys(page)[-1]
    materialize(page, [last], "Launch 1 run")
    wait_for(lambda: attempts(database_of_home, last)[-1:] == ["running"], RUN_LIMIT_S, "the run has begun its range")
    ((run_id,),) = query(database_of_home, "SELECT dagster_run_id FROM embedding_run_ranges WHERE status = 'running'")
    page.goto(f"{web_ui}/runs/{run_id}")
    page.get_by_role("button", name="Terminate").first.click()
    page.get_by_role("button", name="Terminate 1 run").click()
    wait_for(lambda: attempts(database_of_home, last)[-1:] == ["aborted"], TERMINATED_WITHIN_S, "the run is aborted")
    expect(page.get_by_text("Canceled").first).to_be_visible()
    page.screenshot(path=screenshots / "terminated.png")


def coverage_shows(page: Page, web_ui: str, expected: str) -> bool:
    """Open the check's answers by range, and tell whether some of them are there."""
    page.goto(f"{web_ui}{COLUMN}?view=checks")
    page.get_by_text("coverage", exact=True).first.click()
    page.get_by_text("Partitions", exact=True).last.click()
    expect(page.get_by_text(re.compile(r"^Passed \(\d+\)$"))).to_be_visible()
    page.wait_for_load_state("networkidle")
    return page.get_by_text(expected).is_visible()


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


def attempts(database_url: str, key: str) -> list[str]:
    """What became of each attempt at a range, the first one first."""
    statement = "SELECT range_key, status FROM embedding_run_ranges ORDER BY range_id"
    return [str(status) for found, status in query(database_url, statement) if found == key]


def range_of(database_url: str, appid: object) -> str:
    """The key of the filled range in which an application lies."""
    keys = [str(key) for (key,) in query(database_url, "SELECT DISTINCT range_key FROM embedding_run_ranges")]
    id_ranges = [IdRange.from_key(key, "bigint") for key in keys]
    (found,) = (
        each.key
        for each in id_ranges
        if (each.start is None or int(each.start) <= int(str(appid))) and int(str(each.stop)) > int(str(appid))
    )
    return found


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


def change(database_url: str, statement: str, *values: object) -> None:
    """Run one statement and commit."""
    conn = psycopg2.connect(database_url)
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute(statement, values)
    finally:
        conn.close()


def query(database_url: str, statement: str, *values: int) -> list[tuple[object, ...]]:
    conn = psycopg2.connect(database_url)
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        conn.close()
