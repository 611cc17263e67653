"""A description without the name of what it describes, so that finding it by its name is no merit of a model."""

import re

from steam_assets.evaluation.folded_words import Word, runs, words_of

MASK = "…"
LONG_WORD = 4
"""Letters from which a word of a name is masked wherever it stands; shorter ones only beside another masked word."""

LONGER_BY = 2
"""Letters that an ending may add: Knight, Knights; Сталкер, Сталкера."""

SHORTEST_INITIALS = 3

COMMON = frozenset(("the", "and", "this", "that", "with", "your", "from", "into", "their", "game", "games", "edition"))
"""Words that say nothing about which game is meant."""

PART = re.compile(r"\s[-~\u2013\u2014]+\s|[:|/()\[\]]+|\s-|-\s")
TRADEMARK = re.compile(r"[™®©]")


def without_name(text: str, name: str) -> str:
    """``text`` with "…" for the name: "In Portal™ 2 you..." of "Portal II" -> "In … you...".

    Masked are the name and its parts (before and after a colon or a dash), their longer words, also with an ending,
    the short ones and numbers beside those, Roman or Arabic, and initials. Upper case and accents do not matter.
    """
    text, name = TRADEMARK.sub("", text), TRADEMARK.sub("", name)
    words, named = words_of(text), words_of(name)
    marked = [_is_of_name(word, named) for word in words]
    for part in (name, *PART.split(name)):
        _mark_part(words, words_of(part), marked)
    initials = "".join(word.written[0] for word in named if not word.folded.isdigit()).upper()
    for place, word in enumerate(words):
        marked[place] |= len(initials) >= SHORTEST_INITIALS and word.written == initials
    _spread(words, {word.folded for word in named}, marked)
    written, end = "", 0
    for first, last in runs(marked):
        written += text[end : words[first].start] + MASK
        end = words[last].stop
    return written + text[end:]


def _is_of_name(word: Word, named: list[Word]) -> bool:
    return any(
        len(other.written) >= LONG_WORD
        and other.folded not in COMMON
        and word.folded.startswith(other.folded)
        and len(word.folded) - len(other.folded) <= LONGER_BY
        for other in named
    )


def _mark_part(words: list[Word], part: list[Word], marked: list[bool]) -> None:
    """Mark the places where the words of a part stand in a row; a single short one only as it is written: "It", ARK."""
    wanted = [word.folded for word in part]
    if not wanted or (len(wanted) == 1 and wanted[0] in COMMON):
        return
    as_written = len(wanted) == 1 and len(part[0].written) < LONG_WORD
    for start in range(len(words) - len(wanted) + 1):
        stretch = words[start : start + len(wanted)]
        if [word.folded for word in stretch] == wanted and (not as_written or stretch[0].written == part[0].written):
            marked[start : start + len(wanted)] = [True] * len(wanted)


def _spread(words: list[Word], named: set[str], marked: list[bool]) -> None:
    """Mark words of the name that stand beside a marked one, and what stands beside those."""
    for places, before in ((range(1, len(words)), -1), (range(len(words) - 2, -1, -1), 1)):
        for place in places:
            if marked[place + before] and words[place].folded in named:
                marked[place] = True
