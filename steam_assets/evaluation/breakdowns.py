"""Scores of a part of the queries: by language, or by script where the language is not known, and by length."""

from collections.abc import Callable, Mapping

from steam_assets.evaluation.folded_words import script_of
from steam_assets.evaluation.metrics import Interval, QueryScores
from steam_assets.evaluation.query_set import QuerySet

LENGTHS = (50, 150, 300)
"""Characters: a search somebody types, a sentence, a short description, more."""

MOST_LANGUAGES = 20
OTHERS = "others"

Breakdown = Mapping[str, Mapping[str, Interval]]
"""Each metric's mean and interval, by group."""


def breakdowns(query_set: QuerySet, scores: QueryScores, seed: int = 0) -> dict[str, Breakdown]:
    """What each group of queries scored, under "language" and "length"."""
    return {
        "language": _by(lambda query_id: language_of(query_set, query_id), scores, seed, by_size=True),
        "length": _by(lambda query_id: length_of(query_set.queries[query_id]), scores, seed, by_size=False),
    }


def language_of(query_set: QuerySet, query_id: str) -> str:
    """The language that the set names; else the script of the query's letters, which is less and never a guess."""
    return query_set.languages.get(query_id) or f"{script_of(query_set.queries[query_id])} script"


def length_of(text: str) -> str:
    """The length of a query in characters: "51 to 150"."""
    shortest = 1
    for longest in LENGTHS:
        if len(text) <= longest:
            return f"{shortest} to {longest}"
        shortest = longest + 1
    return f"{shortest} and more"


def _by(group_of: Callable[[str], str], scores: QueryScores, seed: int, *, by_size: bool) -> Breakdown:
    groups: dict[str, list[str]] = {}
    for query_id in scores.query_ids:
        groups.setdefault(group_of(query_id), []).append(query_id)
    if by_size:
        ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
        groups = dict(ordered[:MOST_LANGUAGES])
        if rest := [query_id for _, query_ids in ordered[MOST_LANGUAGES:] for query_id in query_ids]:
            groups[OTHERS] = rest
    else:
        groups = dict(sorted(groups.items(), key=lambda group: int(group[0].split()[0])))
    return {group: scores.of(query_ids).means(seed) for group, query_ids in groups.items()}
