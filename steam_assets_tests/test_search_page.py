"""The search page as a person uses it, in a real browser; it runs no text of the database and asks no other host."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.sample import write_sample
from steam_assets.service.search_service import SearchService
from steam_assets.store.database import find_database
from steam_assets.store.files import find_files
from steam_assets.store.load import load_files
from steam_assets.targets import choose_first_model
from steam_assets_tests.rows import execute
from steam_assets_tests.search_server import embed_with, search_server
from steam_assets_tests.test_browser import CHROMIUM, CHROMIUM_OPTIONS, SCREENSHOTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

PATIENCE_MS = 30_000
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"&amp;"
ADD_HOSTILE = """
    INSERT INTO applications (appid, name, type, short_description)
    VALUES (1, %(name)s, 'game', 'A zebra counts submarines. ' || %(name)s)
"""
ADD_HOSTILE_REVIEW = """
    INSERT INTO reviews (recommendationid, appid, review_text)
    VALUES ('<b>1</b>', 1, 'I counted zebras and submarines. ' || %(name)s)
"""
WIDER_THAN_THE_SCREEN = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def url(conn: connection, database_url: str, home: Path, minilm: Model, minilm_encoder: Encoder) -> Iterator[str]:
    """The service over 21 games, one with a hostile name, and 61 reviews, all of them embedded."""
    list(load_files(conn, find_files(write_sample(home, 20, 60))))
    execute(conn, ADD_HOSTILE, name=HOSTILE)
    execute(conn, ADD_HOSTILE_REVIEW, name=HOSTILE)
    with conn:
        for column in COLUMNS:
            choose_first_model(conn, column, minilm)
    embed_with(conn, minilm_encoder)
    service = SearchService(find_database(database_url), lambda model: minilm_encoder)
    service.warm_up()
    with search_server(service) as running:
        yield running.url


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    """A page of a real browser; whatever it says on its console, and any request to elsewhere, fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(url) else None)
        yield page
        # The browser itself reports a refused question.
        assert [line for line in said if "status of 422" not in line] == []
        browser.close()


def asked(page: Page) -> dict[str, list[str]]:
    """The question in the page's address."""
    return parse_qs(urlsplit(page.url).query)


def test_a_person_finds_games_and_goes_on_from_one(url: str, page: Page, tmp_path: Path) -> None:
    """Words, a column, more like this, and back; the address holds the question, so that it can be shared."""
    page.goto(url)
    expect(page.get_by_text("Describe it in your own words")).to_be_visible()
    expect(page.get_by_text("21 rows, ")).to_be_visible()
    expect(page.get_by_label("What to search for")).to_be_focused()

    page.keyboard.type("cozy farming with friends")
    page.keyboard.press("Enter")
    cards = page.locator(".card")
    expect(cards.first).to_be_visible()
    assert asked(page) == {"q": ["cozy farming with friends"]}
    expect(page).to_have_title("cozy farming with friends - search by meaning")
    expect(page.locator("h2")).to_have_count(2)
    expect(page.locator("mark").first).to_be_visible()

    page.get_by_text("Games", exact=True).first.click()
    expect(page.locator("h2")).to_have_count(1)
    assert asked(page)["in"] == ["applications.description_embedding"]
    page.screenshot(path=(Path(SCREENSHOTS) if SCREENSHOTS else tmp_path) / "search-page.png")

    name = cards.first.locator("h3").inner_text()
    cards.first.get_by_text("more like this").click()
    expect(page.locator("h2").first).to_contain_text("Like ")
    assert "like" in asked(page)
    expect(page.locator("h3").filter(has_text=name)).to_have_count(0)
    found = page.locator("h3").all_inner_texts()

    page.reload()
    expect(page.locator("h2").first).to_contain_text("Like ")
    assert page.locator("h3").all_inner_texts() == found
    page.go_back()
    expect(page.locator("h3").first).to_have_text(name)
    expect(page.get_by_label("What to search for")).to_have_value("cozy farming with friends")


def test_reviews_stand_with_their_game(url: str, page: Page) -> None:
    """One card for each, with its name, and at most three reviews; as many games of the next search as of this."""
    page.goto(f"{url}/?q=relaxing&in=reviews.review_embedding&k=5")
    cards = page.locator(".card")
    expect(cards).to_have_count(5)
    titles = page.locator("h3").all_inner_texts()
    assert len(set(titles)) == 5
    assert all(1 <= cards.nth(n).locator(".review").count() <= 3 for n in range(5))
    page.get_by_label("What to search for").fill("trains")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=trains*")
    assert asked(page)["k"] == ["5"]
    expect(cards).to_have_count(5)


def test_the_keyboard_is_enough(url: str, page: Page) -> None:
    """Slash goes to the words, arrows through the results, Tab into one, Enter follows its link."""
    page.goto(f"{url}/?q=trains&in=applications.description_embedding")
    cards = page.locator(".card")
    expect(cards.first).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(cards.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("What to search for")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    expect(page.get_by_label("What to search for")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h2").first).to_contain_text("Like ")


def test_texts_of_the_database_are_shown_and_never_run(url: str, page: Page) -> None:
    """A name that is a script appears as it is written, in a title, in a snippet, as a group's name and in an id."""
    page.goto(f"{url}/?q=a zebra counts submarines {HOSTILE}")
    expect(page.get_by_role("heading", name=HOSTILE, exact=True)).to_have_count(2)
    expect(page.get_by_text("<b>1</b>", exact=True)).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script, main b").count() == 0


def test_filters_narrow_a_search_and_a_wrong_one_is_explained(url: str, page: Page) -> None:
    """Simple inputs become a condition; what cannot be understood is told in the page, and can be mended there."""
    page.goto(f"{url}/?q=dragons&in=applications.description_embedding&k=100")
    cards = page.locator(".card")
    expect(cards).to_have_count(21)
    page.get_by_text("Filters").click()
    page.get_by_label("Price at most").fill("0")
    page.keyboard.press("Tab")
    expect(page.locator("#filter-count")).to_have_text("(1)")
    assert asked(page)["price"] == ["0"]
    expect(cards).not_to_have_count(21)
    page.get_by_label("Price at most").fill("")
    page.get_by_label("Condition").fill("appid = 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("appid")
    page.get_by_label("Condition").fill("not type = game")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_text("Reviews", exact=True).first.click()
    expect(page.get_by_label("Language")).to_be_visible()


def test_the_page_fits_a_telephone_and_the_night(url: str, page: Page) -> None:
    """Nothing is wider than a small screen, and colours follow the system."""
    page.goto(f"{url}/?q=space ships")
    expect(page.locator(".card").first).to_be_visible()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 340, "height": 700})
    assert not page.evaluate(WIDER_THAN_THE_SCREEN)
    page.get_by_text("Filters").click()
    assert not page.evaluate(WIDER_THAN_THE_SCREEN)
