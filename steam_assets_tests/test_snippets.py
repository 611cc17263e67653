"""The part of a text that is shown: around what was looked for, whole words, one line, harmless to a terminal."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_assets.search.snippets import CUT, SNIPPET_CHARACTERS, one_line, snippet, words_of

FILLER = "alpha beta gamma delta epsilon " * 30
LONG = f"{FILLER}a cozy farming village {FILLER}the farm again {FILLER}"


def test_a_short_text_is_shown_as_it_is_read() -> None:
    """Without markup of the store page or of a review, on one line."""
    assert snippet("<h2>Plant</h2>\n[b]turnips[/b] &amp; milk\tcows.") == "Plant turnips & milk cows."
    assert snippet("") == ""


def test_a_long_text_is_shown_around_the_words_that_were_looked_for() -> None:
    """Where most of them stand together, with marks where it goes on."""
    shown = snippet(LONG, words_of("cozy farm village"))
    assert "a cozy farming village" in shown
    assert (shown[0], shown[-1]) == (CUT, CUT)
    assert "the farm again" in snippet(LONG, words_of("farm again"))


def test_without_such_words_the_beginning_is_shown() -> None:
    """Meaning has no place in a text."""
    for words in ([], words_of("railway"), words_of("of a to")):
        assert snippet(LONG, words).startswith("alpha beta")
        assert snippet(LONG, words).endswith(CUT)


def test_the_end_of_a_text_fills_the_line() -> None:
    """A word found in the last sentence is shown with what comes before it."""
    shown = snippet(f"{FILLER}the end", words_of("end"))
    assert shown.endswith("the end")
    assert len(shown) > SNIPPET_CHARACTERS * 0.8


@pytest.mark.parametrize("query", ["cozy", "village", "epsilon", "again", ""])
def test_words_are_shown_whole(query: str) -> None:
    """None is cut in two, and the line keeps its length."""
    shown = snippet(LONG, words_of(query))
    assert set(re.findall(r"\w+", shown)) <= set(re.findall(r"\w+", LONG))
    assert SNIPPET_CHARACTERS - 45 < len(shown) <= SNIPPET_CHARACTERS + 2


def test_scripts_without_blanks_are_cut_anywhere() -> None:
    """There is no word to keep whole, and what was looked for is found inside the line."""
    text = "这是一个很长的句子" * 100 + "农场生活" + "这是一个很长的句子" * 100
    shown = snippet(text, words_of("农场"))
    assert "农场生活" in shown
    assert len(shown) <= SNIPPET_CHARACTERS + 2


def test_a_title_is_not_shown_twice() -> None:
    """The text of a store page begins with its name."""
    assert snippet("Lantern Valley Plant turnips.", title="Lantern Valley") == "Plant turnips."
    assert snippet("Lantern Valley", title="Lantern Valley") == "Lantern Valley"
    assert snippet("Plant turnips.", title="Lantern Valley") == "Plant turnips."


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J\x1b[31mred", "a\x07b", "a\x9b31mb", "a\u202eb", "a\u2066b", "a\u2028b", "a\rb", "a\x00b", "\x1b]0;t\x07"],
    ids=repr,
)
def test_nothing_reaches_a_terminal_that_it_would_obey(text: str) -> None:
    """No escape sequence, no cursor movement, no line turned around; of ordinary letters nothing is lost."""
    assert snippet(text).isprintable()
    assert one_line(text).isprintable()
    assert [letter for letter in one_line(text) if letter.isalpha()] == [letter for letter in text if letter.isalpha()]


def test_emoji_and_joined_letters_stay_whole() -> None:
    """Joiners are no control characters: a family stays one."""
    for joined in ("👨\u200d👩\u200d👧", "क\u200dष", "☺\ufe0f"):
        assert one_line(joined) == joined


def test_words_are_those_that_tell_texts_apart() -> None:
    """Short Latin words are everywhere; short words of other scripts are not. A megabyte of them is no more than 32."""
    assert words_of("A game of the Orks, in 3D? Orks!") == ["game", "the", "orks"]
    assert words_of("农场 й") == ["农场", "й"]
    assert len(words_of("word1 word2 " + " ".join(f"w{n:05}" for n in range(200_000)))) == 32
    assert words_of("x" * 100) == []


@given(st.text(), st.text(max_size=30), st.one_of(st.none(), st.text(max_size=10)))
def test_every_text_has_a_line(text: str, query: str, title: str | None) -> None:
    """Whatever both hold, the line is short, and printable but for what Unicode has not decided."""
    shown = snippet(text, words_of(query), title)
    assert len(shown) <= SNIPPET_CHARACTERS + 2
    assert not re.search("[\x00-\x1f\x7f-\x9f]", shown)


def test_a_hostile_text_takes_no_time() -> None:
    """A thousand hits of 20,000 characters are shown in seconds."""
    started = time.monotonic()
    for text in ("<" * 20_000, "[b]" * 6_000, "a " * 10_000, "x" * 20_000, "farm " * 4_000):
        snippet(text, words_of("farm a x"))
    assert time.monotonic() - started < 1
