"""A set of queries with the documents that answer them. Reading one from files is beir.py's, scoring score.py's."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from steam_assets.errors import SteamAssetsError

IDS_SHOWN = 5


class BadQuerySet(SteamAssetsError):
    """A query set that is not there, not in its layout, or does not agree with itself or with the column."""


@dataclass(frozen=True)
class QuerySet:
    """Queries by id, and for each the grades of the documents judged for it, at least one of them above 0.

    Documents are those of ``corpus``, or where that is None the rows of the column by id. ``languages`` are those of
    queries where they are known. ``notices`` say what was left out of it, and why.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Mapping[str, str] | None = None
    languages: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.queries:
            raise BadQuerySet(
                f"{self.name}: no query is left that can be scored. {' '.join((*self.notices, ''))}"
                "Expected queries with text, and for each a document with a score above 0."
            )
        if self.queries.keys() != self.qrels.keys():
            raise ValueError("queries and judgements differ")

    @property
    def digest(self) -> str:
        """sha256 of queries, judgements and documents: scores of sets with another digest do not compare."""
        found = hashlib.sha256()
        parts: tuple[Mapping[str, object] | None, ...] = (self.queries, self.qrels, self.corpus)
        for part in parts:
            found.update(b"none\n" if part is None else b"part\n")
            for key, value in sorted((part or {}).items()):
                found.update(json.dumps([key, value], sort_keys=True).encode() + b"\n")
        return found.hexdigest()

    def having(self, qrels: Mapping[str, Mapping[str, int]], notices: Iterable[str] = ()) -> "QuerySet":
        """The same with these judgements and the queries they belong to, in their order."""
        return replace(
            self,
            queries={query_id: text for query_id, text in self.queries.items() if query_id in qrels},
            qrels=qrels,
            notices=(*self.notices, *notices),
        )

    def sample(self, size: int, seed: int = 0) -> "QuerySet":
        """The same with at most ``size`` of its queries, drawn without replacement."""
        ids = list(self.queries)
        if size >= len(ids):
            return self
        chosen = np.random.default_rng(seed).choice(len(ids), size, replace=False)
        qrels = {ids[place]: self.qrels[ids[place]] for place in sorted(chosen)}
        return self.having(qrels, [f"{size:,} of {len(ids):,} queries, drawn with seed {seed}."])


def unknown_ids(where: str, what: str, ids: Sequence[str], ignored: bool) -> str:
    """What to tell of ids that are not there; raises BadQuerySet with it unless they are to be ignored."""
    shown = ", ".join(map(shortened, ids[:IDS_SHOWN])) + (", ..." if len(ids) > IDS_SHOWN else "")
    if ignored:
        return f"{where}: {len(ids):,} {what} are not there, and their judgements were left out: {shown}."
    raise BadQuerySet(
        f"{where}: {len(ids):,} {what} are not there: {shown}. Correct the file, or leave their judgements out with "
        "--ignore-unknown."
    )


def relevant(qrels: Mapping[str, Mapping[str, int]]) -> dict[str, Mapping[str, int]]:
    """The judgements of queries that have a document with a score above 0."""
    return {query_id: grades for query_id, grades in qrels.items() if any(grade > 0 for grade in grades.values())}


def shortened(value: object) -> str:
    """A value of somebody's file for a message: not long, and nothing in it that a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
