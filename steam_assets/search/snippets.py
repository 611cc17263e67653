"""The part of a text that is shown for a query, on one line, with nothing in it that a terminal would obey."""

import re
from collections.abc import Sequence

from steam_assets.encoder.steam_html import steam_html

SNIPPET_CHARACTERS = 160
BEFORE_WORD = 40
"""Characters shown before the first word that was looked for."""
WORDS_SOUGHT = 32
PLACES_SOUGHT = 200
SHORTEST_WORD = 3
"""Of letters that words are made of with blanks between: "a" and "of" are everywhere."""
LONGEST_WORD = 40

# Control characters move a terminal's cursor and start its escape sequences; marks of direction turn a line around.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
CUT = "…"


def one_line(text: str) -> str:
    """A text as it may be printed: white space is single blanks, and control characters are gone."""
    return " ".join(DIRECTIONS.sub("", CONTROLS.sub(" ", text)).split())


def words_of(query: str) -> list[str]:
    """The words of a query that a text is searched for, in lower case; none that is everywhere."""
    words = dict.fromkeys(re.findall(r"\w+", query[:1_000].lower()))
    return [word for word in words if SHORTEST_WORD <= len(word) <= LONGEST_WORD or not word.isascii()][:WORDS_SOUGHT]


def snippet(text: str, words: Sequence[str] = (), title: str | None = None) -> str:
    """Some 160 characters of a text as a reader of a Steam page sees it, around most of ``words``, else its start.

    A ``title`` that the text begins with is shown elsewhere.
    """
    line = one_line(steam_html(text))
    if title and line.startswith(title) and len(line) > len(title):
        line = line[len(title) :].lstrip()
    if len(line) <= SNIPPET_CHARACTERS:
        return line
    start = _word_start(line, max(0, _best_place(line, words) - BEFORE_WORD))
    if len(line) - start < SNIPPET_CHARACTERS:
        start = _word_start(line, len(line) - SNIPPET_CHARACTERS)
    end = _word_end(line, start + SNIPPET_CHARACTERS)
    return (CUT if start else "") + line[start:end].rstrip() + (CUT if end < len(line) else "")


def _best_place(line: str, words: Sequence[str]) -> int:
    """Where the stretch begins that has the most of the words, long ones counting for more; 0 where there is none."""
    if not words:
        return 0
    # A word of Latin letters is looked for at the start of words; of scripts without blanks anywhere.
    sought = "|".join(rf"\b{word}" if word.isascii() else re.escape(word) for word in words)
    found = re.finditer(sought, line, re.IGNORECASE)
    places = [(match.start(), match[0].lower()) for match, _ in zip(found, range(PLACES_SOUGHT), strict=False)]
    best, most = 0, 0
    for number, (place, _) in enumerate(places):
        within = {word for other, word in places[number:] if other < place + SNIPPET_CHARACTERS - BEFORE_WORD}
        if (weight := sum(map(len, within))) > most:
            best, most = place, weight
    return best


def _word_start(line: str, place: int) -> int:
    """The start of a word near ``place``, or that where there is none near."""
    if place == 0:
        return 0
    blank = line.find(" ", max(0, place - 1), place + BEFORE_WORD // 2)
    return place if blank < 0 else blank + 1


def _word_end(line: str, place: int) -> int:
    """The end of a word at or before ``place``, or that where words have no blanks between."""
    if place >= len(line):
        return len(line)
    blank = line.rfind(" ", place - BEFORE_WORD, place + 1)
    return place if blank < 0 else blank
