"""Words compare without case, accents and markup, and a text's script is that of most of its letters."""

import time

import pytest

from steam_assets.evaluation.folded_words import folded, is_unspaced, runs, script_of, words_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fish &amp; CHIPS", ["fish", "chips"]),
        ("<b class='x'>Pokémon</b>™ IV", ["pokemon", "4"]),
        ("don't_stop", ["don", "t", "stop"]),
        ("日本ABC", ["日", "本", "abc"]),
        ("Сталкер 2", ["сталкер", "2"]),
        ("a < b > c", ["a", "c"]),
        ("", []),
    ],
)
def test_words_are_folded_and_markup_is_none(text: str, expected: list[str]) -> None:
    """Names of tags and entities are no words; a script without spaces has a word for each character."""
    assert [word.folded for word in words_of(text)] == expected


def test_a_word_knows_where_it_stands() -> None:
    """So that it can be cut out of the text as it was written."""
    text = "In <i>Époque</i> we trust"
    for word in words_of(text):
        assert text[word.start : word.stop] == word.written
    assert folded("Époque") == "epoque"


def test_hostile_markup_takes_no_longer_than_its_length() -> None:
    """Ten times the brackets take about ten times as long, not a hundred times."""

    def seconds(size: int) -> float:
        started = time.perf_counter()
        words_of("<&" * size)
        return time.perf_counter() - started

    seconds(10_000)
    assert seconds(300_000) < 40 * max(seconds(30_000), 0.001)


def test_runs_are_neighbours_that_are_marked() -> None:
    """First and last of each."""
    assert runs([True, True, False, True]) == [(0, 1), (3, 3)]
    assert runs([]) == runs([False]) == []


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("A cozy farm 日", "Latin"),
        ("отличная RPG", "Cyrillic"),
        ("日本語です", "CJK"),
        ("최고의", "CJK"),
        ("العبة", "other"),
        ("10/10 🎮", "none"),
    ],
)
def test_a_script_is_that_of_most_letters(text: str, script: str) -> None:
    """Digits and emoji are of no script."""
    assert script_of(text) == script


def test_thai_and_japanese_have_no_spaces_and_korean_has() -> None:
    """Phrases of them are counted in characters."""
    assert is_unspaced("เกมสนุก")
    assert is_unspaced("日本語の game")
    assert not is_unspaced("최고의 게임입니다")
    assert not is_unspaced("")
