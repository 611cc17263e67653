"""The sample catalogue is the same everywhere, uneven as real data is, and means what it says."""

import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.encoder.encoder import Encoder
from steam_assets.sample import SampleApplication, applications, catalogue, reviews, write_sample
from steam_assets.sample.themes import themes
from steam_assets.store.files import find_files
from steam_assets.store.load import load_files

# Changes with every word of the vocabularies; it must not change with machine, Python or hash seed.
SAMPLE_SHA256 = "00e3eb3c886ae0e5990bb8f0b4ea900b22c318992de0f10d2835db1b841c8537"

STORE_GENRES = {
    *("Action", "Adventure", "Casual", "Free To Play", "Indie", "RPG", "Racing", "Simulation", "Sports", "Strategy"),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of the whole sample."""
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """The text of every review that has one."""
    return [str(row["review_text"]) for row in reviews() if row["review_text"] is not None]


def test_the_sample_is_the_same_on_every_machine() -> None:
    """Demo, tests and benchmarks speak of the same rows."""
    digest = hashlib.sha256()
    for row in (*applications(300), *reviews(900, 300)):
        digest.update(repr(sorted(row.items())).encode())
    assert digest.hexdigest() == SAMPLE_SHA256


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    """A test of 50 applications sees the first 50 of the demo."""
    assert list(applications(50)) == list(applications(200))[:50]


def test_the_sample_loads_without_a_reject_or_a_warning(conn: connection, sample: tuple[Path, Path]) -> None:
    """2,000 applications and 6,000 reviews, every column of them known, every review's game there."""
    reports = list(load_files(conn, find_files(sample)))
    assert [(report.table, report.inserted) for report in reports] == [("applications", 2_000), ("reviews", 6_000)]
    assert [(report.rejected, report.ignored_columns, report.warnings) for report in reports] == [(0, (), ())] * 2
    assert reports[0].genres > 2_000


def test_ids_are_sparse_and_of_both_kinds() -> None:
    """Applications have multiples of ten with gaps, reviews have text ids whose order is not that of numbers."""
    appids = [game.appid for game in catalogue()]
    assert len(set(appids)) == 2_000
    assert all(appid % 10 == 0 for appid in appids)
    assert appids[400] < appids[-1] / 50
    ids = [str(row["recommendationid"]) for row in reviews()]
    assert len(set(ids)) == 6_000
    assert sorted(ids) != sorted(ids, key=int)


def test_there_are_many_themes_and_no_name_twice() -> None:
    """At least thirty kinds of game, each with a share of the catalogue; descriptions do not repeat."""
    games = list(catalogue())
    per_theme = Counter(game.theme.name for game in games)
    assert len(per_theme) == len(themes()) >= 30
    assert min(per_theme.values()) >= 20
    assert len({game.name for game in games}) == len(games)
    described = [game.row["short_description"] for game in games if "short_description" in game.row]
    assert len(set(described)) > 0.98 * len(described)
    assert 50 < len(games) - len(described) < 250, "some pages have a name alone"


def test_every_page_that_says_something_has_genres_of_the_stores_list() -> None:
    """Searches can be narrowed to one, and the map coloured by them; a free game is listed as one."""
    pages = [game.row for game in catalogue() if "short_description" in game.row]
    listed = [row["genres"] for row in pages]
    assert all(
        isinstance(genres, list) and 1 <= len(genres) <= 4 and len(set(genres)) == len(genres) for genres in listed
    )
    counts = Counter(name for genres in listed if isinstance(genres, list) for name in genres)
    assert set(counts) == STORE_GENRES
    assert min(counts.values()) > 30
    assert counts["Free To Play"] == sum(row["is_free"] is True for row in pages)


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_long_descriptions_are_the_html_that_steam_writes() -> None:
    """Headings, lists, images, breaks and entities, all closed; short descriptions are plain."""
    seen: set[str] = set()
    abouts = [str(row["about_the_game"]) for row in applications() if "about_the_game" in row]
    for about in abouts:
        parser = _Balance()
        parser.feed(about)
        assert parser.open == []
        seen |= parser.seen
    assert {"h2", "ul", "li", "img", "br", "strong"} <= seen
    assert '<h2 class="bb_tag">' in "".join(abouts)
    assert "&quot;" in "".join(abouts)
    assert not any("<" in str(row.get("short_description")) for row in applications())
    assert not any(re.search(r"[{}]|  |\bthe the\b| ,|\.\.(?!\.)", about) for about in abouts), "fragments fit together"


def test_reviews_are_as_uneven_as_real_ones(texts: list[str]) -> None:
    """One word to thousands of characters, at most Steam's 8,000; blanks, repetitions, art, BBCode, emoji, CRLF."""
    lengths = sorted(map(len, texts))
    assert lengths[len(lengths) // 20] <= 20
    assert 80 < lengths[len(lengths) // 2] < 350
    assert lengths[-len(lengths) // 50] > 900
    assert 5_000 < lengths[-1] <= 8_000
    blank = sum(not text.strip() for text in texts) + 6_000 - len(texts)
    assert 20 < blank < 200
    assert 300 < len(texts) - len(set(texts)) < 1_500
    for mark in ("[h1]", "[list]", "[spoiler]", "\r\n", "❤️", "⣿", "( o.o )"):
        assert sum(mark in text for text in texts) >= 3, mark


def test_reviews_come_in_many_languages_under_steams_codes() -> None:
    """Each language has hundreds of real sentences in its own script."""
    by_language: dict[str, str] = {}
    for row in reviews():
        by_language[str(row["language"])] = by_language.get(str(row["language"]), "") + str(row["review_text"])
    assert len(by_language) == 10
    for language, script in {
        "russian": "[\u0430-\u044f]",
        "schinese": "[一-鿿]",
        "japanese": "[ぁ-ん]",
        "koreana": "[가-힣]",
    }.items():
        assert len(re.findall(script, by_language[language])) > 1_000


def test_no_text_repeats_a_sentence_or_leaves_a_gap(texts: list[str]) -> None:
    """Composed text reads as written: no placeholder is left, and hardly a long review says a thing twice."""
    assert not any(re.search(r"\{\w*\}", text) for text in texts)
    long_ones = [re.split(r"(?<=[.!?])\s+", text) for text in texts if 600 < len(text) < 7_000 and "." in text]
    stuttering = [said for said in long_ones if len(set(said)) < len(said)]
    assert len(long_ones) > 200
    assert len(stuttering) <= 0.02 * len(long_ones)


@pytest.fixture(scope="module")
def pages(minilm_encoder: Encoder) -> tuple[list[SampleApplication], NDArray[np.float32]]:
    """Applications with a description, and the vectors of their names and short descriptions."""
    games = [game for game in catalogue(800) if "short_description" in game.row]
    return games, minilm_encoder.encode([f"{game.name} {game.row['short_description']}" for game in games])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "theme"),
    [
        ("cozy farming game with friends", "farming"),
        ("scary game in an abandoned hospital", "hospital horror"),
        ("build railways and manage trains", "trains"),
        ("story-driven RPG with moral choices and consequences", "story rpg"),
        ("learn to program by hacking computers", "hacking"),
        ("survive the cold in the wild", "winter survival"),
    ],
)
def test_searching_the_sample_finds_what_was_asked_for(
    minilm_encoder: Encoder, pages: tuple[list[SampleApplication], NDArray[np.float32]], query: str, theme: str
) -> None:
    """The first hit is of the right kind, and so are at least three of the first five, by short descriptions alone."""
    games, vectors = pages
    similarity = vectors @ minilm_encoder.encode([query])[0]
    found = [games[i].theme.name for i in similarity.argsort()[::-1][:5]]
    assert found[0] == theme
    assert found.count(theme) >= 3
