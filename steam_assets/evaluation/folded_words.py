"""Words of a text as they compare across case, accents and numerals, with their places. What is done with them is not
here: masking.py and overlap.py."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Script = Literal["Latin", "Cyrillic", "CJK", "other", "none"]

# Scripts that put no space between words: ideographs, kana, Thai, Lao, Khmer, Burmese. Hangul has spaces.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

# Markup first, so that names of tags are no words; none of these reads past the next "<", which keeps it linear.
WORD = re.compile(rf"(?P<markup><[^<>]*>|&\#?\w+;)|[{UNSPACED}]|[^\W_{UNSPACED}]+")

NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi")
ARABIC = {numeral: str(number) for number, numeral in enumerate(NUMERALS, start=1)}


@dataclass(frozen=True)
class Word:
    """A word, or a character of a script without spaces: where it stands, as written and as it compares."""

    start: int
    stop: int
    written: str
    folded: str


def words_of(text: str) -> list[Word]:
    """The words of a text without its markup: "<b>Pokémon</b> VII" -> pokemon, 7."""
    return [
        Word(found.start(), found.end(), found[0], folded(found[0]))
        for found in WORD.finditer(text)
        if found["markup"] is None
    ]


def folded(word: str) -> str:
    """A word without case and accents, Roman numerals as numbers: "Café" -> cafe, "IV" -> 4."""
    plain = word.casefold()
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", plain)
        plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return ARABIC.get(plain, plain)


def is_unspaced(text: str) -> bool:
    """Whether most words of a text are characters of a script without spaces."""
    found = words_of(text)
    return 2 * sum(re.match(f"[{UNSPACED}]", word.written) is not None for word in found) > len(found)


def runs(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """Stretches of marked words as first and last: [T, T, F, T] -> [(0, 1), (3, 3)]."""
    found: list[tuple[int, int]] = []
    for place, is_marked in enumerate(marked):
        if is_marked and found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        elif is_marked:
            found.append((place, place))
    return found


def script_of(text: str) -> Script:
    """The script of most letters: a hint at the language, which is all that a text of unknown language gives."""
    counts: dict[Script, int] = {}
    for character in text:
        if character.isalpha():
            script = _script_of(character)
            counts[script] = counts.get(script, 0) + 1
    return max(counts, key=lambda script: counts[script]) if counts else "none"


@cache
def _script_of(character: str) -> Script:
    name = unicodedata.name(character, "")
    if name.startswith(("LATIN", "FULLWIDTH LATIN")):
        return "Latin"
    if name.startswith("CYRILLIC"):
        return "Cyrillic"
    return "CJK" if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "HALFWIDTH")) else "other"
