"""Scores of a part of the queries: by language, or by script where the language is not known, and by length."""

from collections.abc import Callable, Mapping, Sequence

from steam_assets.evaluation.folded_words import script_of
from steam_assets.evaluation.metrics import Interval, QueryScores
from steam_assets.evaluation.query_set import QuerySet

LENGTHS = (50, 150, 300)
"""Characters: a search somebody types, a sentence, a short description, more."""

MOST_LANGUAGES = 20
OTHERS = "others"

Breakdown = Mapping[str, Mapping[str, Interval]]
"""Each metric's mean and interval, by group."""

Groups = Mapping[str, Sequence[str]]
"""Ids of queries, by group."""


def breakdowns(query_set: QuerySet, scores: QueryScores) -> dict[str, Breakdown]:
    """What each group of queries scored, under "language" and "length"."""
    ids = scores.query_ids
    groups = {
        "language": largest(grouped(ids, lambda query_id: language_of(query_set, query_id))),
        "length": shortest_first(grouped(ids, lambda query_id: length_of(query_set.queries[query_id]))),
    }
    return {kind: {name: scores.of(found).means() for name, found in of.items()} for kind, of in groups.items()}


def language_of(query_set: QuerySet, query_id: str) -> str:
    """The language that the set names; else the script of the query's letters, which is less and never a guess."""
    if query_id in query_set.languages:
        return query_set.languages[query_id]
    script = script_of(query_set.queries[query_id])
    return "no letters" if script == "none" else f"{script} script"


def length_of(text: str) -> str:
    """The length of a query in characters: "51 to 150"."""
    shortest = 1
    for longest in LENGTHS:
        if len(text) <= longest:
            return f"{shortest} to {longest}"
        shortest = longest + 1
    return f"{shortest} and more"


def grouped(query_ids: Sequence[str], group_of: Callable[[str], str]) -> Groups:
    """The queries of each group, in their order."""
    groups: dict[str, list[str]] = {}
    for query_id in query_ids:
        groups.setdefault(group_of(query_id), []).append(query_id)
    return groups


def largest(groups: Groups) -> Groups:
    """The groups with most queries first; of more than MOST_LANGUAGES the smallest are one."""
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    rest = [query_id for _, query_ids in ordered[MOST_LANGUAGES:] for query_id in query_ids]
    return {**dict(ordered[:MOST_LANGUAGES]), **({OTHERS: rest} if rest else {})}


def shortest_first(groups: Groups) -> Groups:
    """Groups of ``length_of`` by length."""
    return dict(sorted(groups.items(), key=lambda group: int(group[0].split()[0])))
