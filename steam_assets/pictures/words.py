"""What clusters of texts are called: the words that are frequent in one and rare in the others, in any language."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files

WORDS_IN_A_NAME = 3
SEPARATOR = " · "
MORE_OFTEN = 1.3
"""A word is a cluster's when its texts have it so many times as often as all texts."""

# Chinese and Japanese are written without spaces; two letters are about a word there.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"(?P<unspaced>[{_UNSPACED}]{{2,}})|(?:(?![{_UNSPACED}])[^\W\d_]){{3,}}")


def cluster_names(texts: Sequence[str], clusters: Sequence[int], count: int) -> list[str]:
    """A name for each of ``count`` clusters from the texts in it; "cluster 3" where they have no word of their own.

    By class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794): tf(word, cluster) * log(1 + A / f(word)) with A words
    in a cluster on average. A text counts a word once, so that no text names a cluster by repeating itself.
    """
    of_cluster = [Counter[str]() for _ in range(count)]
    spelled: Counter[tuple[str, str]] = Counter()
    for text, cluster in zip(texts, clusters, strict=True):
        words = {word.casefold(): word for word in words_of(text)}
        of_cluster[cluster].update(words.keys() - stop_words())
        spelled.update(words.items())
    everywhere = Counter[str]()
    for words_there in of_cluster:
        everywhere.update(words_there)
    # The most frequent one comes last, and stays.
    spelling = {folded: word for (folded, word), _ in sorted(spelled.items(), key=lambda item: (item[1], item[0]))}
    average = everywhere.total() / max(count, 1)
    sizes = Counter(clusters)
    names = []
    for cluster, words_there in enumerate(of_cluster):
        scores = {
            word: in_texts * math.log(1 + average / everywhere[word])
            for word, in_texts in words_there.items()
            if in_texts / sizes[cluster] > MORE_OFTEN * everywhere[word] / len(texts)
        }
        names.append(SEPARATOR.join(spelling[word] for word in _best(scores)) or f"cluster {cluster + 1}")
    return names


def words_of(text: str) -> Iterator[str]:
    """The words of a text, of three letters or more; pairs of letters where a script has no spaces."""
    for found in _WORD.finditer(text):
        if (run := found["unspaced"]) is not None:
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        else:
            yield found[0]


@cache
def stop_words() -> frozenset[str]:
    """Words that name nothing, of the languages that Steam's pages and reviews are written in most."""
    return frozenset(files("steam_assets.pictures").joinpath("stop_words.txt").read_text(encoding="utf-8").split())


def _best(scores: dict[str, float]) -> list[str]:
    """The words with the highest score, the first in the alphabet where two have the same."""
    chosen: list[str] = []
    for word in sorted(scores, key=lambda word: (-scores[word], word)):
        # "cat" beside "cats" says nothing new.
        if not any(word.startswith(other) or other.startswith(word) for other in chosen):
            chosen.append(word)
        if len(chosen) == WORDS_IN_A_NAME:
            break
    return chosen
