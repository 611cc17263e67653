"""A long description without the phrases it shares with the short one, so that no copied sentence gives it away."""

import re

from steam_assets.evaluation.folded_words import is_unspaced, runs, words_of

SHARED_WORDS = 6
"""So many words in a row are a copied phrase, also where the sentence goes on differently."""

SHARED_CHARACTERS = 12
"""The same of scripts without spaces."""

SHORTEST_SENTENCE = 3
"""Words of a sentence that is a phrase although it is shorter than those."""

SENTENCE_END = re.compile(r"[.!?\n\u2026\u3002\uff01\uff1f]+")


def without_phrases(document: str, shown: str) -> str:
    """``document`` without the sentences of ``shown``, and without longer phrases of them; its markup stays."""
    length = SHARED_CHARACTERS if is_unspaced(shown) else SHARED_WORDS
    phrases: dict[int, set[tuple[str, ...]]] = {}
    whole = tuple(word.folded for word in words_of(shown))
    for start in range(len(whole) - length + 1):
        phrases.setdefault(length, set()).add(whole[start : start + length])
    for sentence in SENTENCE_END.split(shown):
        words = tuple(word.folded for word in words_of(sentence))
        if SHORTEST_SENTENCE <= len(words) < length:
            phrases.setdefault(len(words), set()).add(words)
    words_there = words_of(document)
    folded = [word.folded for word in words_there]
    marked = [False] * len(folded)
    for size, wanted in phrases.items():
        firsts = {phrase[0] for phrase in wanted}
        for start in range(len(folded) - size + 1):
            if folded[start] in firsts and tuple(folded[start : start + size]) in wanted:
                marked[start : start + size] = [True] * size
    written, end = [], 0
    for first, last in runs(marked):
        written.append(document[end : words_there[first].start])
        end = words_there[last].stop
    return "".join([*written, document[end:]])
