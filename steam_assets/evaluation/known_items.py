"""Query sets out of the loaded store pages: find the page again that a description is of. Nobody had to judge them."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.steam_html import steam_html
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.folded_words import words_of
from steam_assets.evaluation.masking import without_name
from steam_assets.evaluation.overlap import without_phrases
from steam_assets.evaluation.query_set import BadQuerySet, QuerySet
from steam_assets.store.item_texts import ItemTexts, count_pages, has_item_texts, item_ids, read_items

Connect = Callable[[], connection]

KNOWN_ITEMS = "known-items"
IN_COLUMN = "known-items-in-column"

QUERIES = 1_000
DOCUMENTS = 10_000
"""More distractors make it harder; these take a minute on a GPU, and some ten on two processor cores with MiniLM."""

SHORTEST_QUERY = 20
SHORTEST_DOCUMENT = 100
"""Letters and digits without which a text says too little about its page."""


@dataclass(frozen=True)
class Sampling:
    """How many queries and documents are evaluated at most, 1 or more, and the seed that draws them.

    Without ``queries`` known items have QUERIES, and a set of somebody's own has all that it has.
    """

    queries: int | None = None
    documents: int = DOCUMENTS
    seed: int = 0

    def __post_init__(self) -> None:
        for what, size in (("queries", self.queries), ("documents", self.documents)):
            if size is not None and size < 1:
                raise SteamAssetsError(f"A sample of {size} {what} was asked for; expected 1 or more.")


DEFAULT_SAMPLING = Sampling()


def known_items(
    connect: Callable[[], connection], column: TextColumn, sampling: Sampling = DEFAULT_SAMPLING
) -> QuerySet:
    """Short descriptions without the name, to be found among long descriptions without what those share with them.

    So neither a name nor a copied sentence gives the answer away. The set is the same for every model.
    """
    dropped: Counter[str] = Counter()
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    seen: set[str] = set()
    with closing(connect()) as conn:
        conn.autocommit = True  # no transaction is open while texts are compared
        ids = _candidates(conn, column, sampling.seed, SHORTEST_DOCUMENT)
        total = count_pages(conn, column)
        for item in read_items(conn, column, ids):
            document = without_phrases(item.long or "", item.short)
            said = _said(steam_html(document))
            if len(said) < SHORTEST_DOCUMENT:
                dropped["say hardly more than their short description"] += 1
            elif said in seen:
                dropped["have the long description of another page"] += 1
            else:
                seen.add(said)
                corpus[item.id] = document
                queries[item.id] = _query(item)
                if len(corpus) == sampling.documents:
                    break
    notices = (
        f"{len(ids):,} of {total:,} pages have a short and a long description.",
        *(f"{pages:,} pages {why}, and were left out." for why, pages in dropped.items()),
    )
    return _set(KNOWN_ITEMS, queries, corpus, sampling.queries or QUERIES, notices)


def known_items_in_column(connect: Connect, column: TextColumn, sampling: Sampling = DEFAULT_SAMPLING) -> QuerySet:
    """Short descriptions without the name, to be found among the rows of the column.

    A row's text may well hold the query, so these scores do not judge a model. They do judge a way to search: what an
    index loses of what comparing every row finds.
    """
    size = sampling.queries or QUERIES
    with closing(connect()) as conn:
        conn.autocommit = True
        ids = _candidates(conn, column, sampling.seed, None)
        # Some are left out below, for being like another or saying little.
        queries = {item.id: _query(item) for item in read_items(conn, column, ids[: 2 * size])}
    return _set(IN_COLUMN, queries, None, size, ())


def _candidates(conn: connection, column: TextColumn, seed: int, shortest_document: int | None) -> list[int | str]:
    if not has_item_texts(conn, column):
        raise BadQuerySet(
            f"{column.qualified_table} has no name, short_description, about_the_game and detailed_description to "
            "make known items of. Give a query set of your own with --queries."
        )
    ids = item_ids(conn, column, seed, SHORTEST_QUERY, shortest_document)
    if not ids:
        raise BadQuerySet(
            f"No page of {column.qualified_table} has the descriptions that known items are made of. Load store pages "
            "with `steam-assets load FILES`, or give a query set of your own with --queries."
        )
    return ids


def _set(
    name: str, queries: dict[str, str], corpus: dict[str, str] | None, size: int, notices: Iterable[str]
) -> QuerySet:
    """The first ``size`` queries that say enough and are not those of another page as well."""
    times = Counter(_said(query) for query in queries.values())
    usable = {
        id_: query for id_, query in queries.items() if len(said := _said(query)) >= SHORTEST_QUERY and times[said] == 1
    }
    if left := len(queries) - len(usable):
        notices = (*notices, f"{left:,} short descriptions say little without the name, or are of several pages.")
    chosen = dict(list(usable.items())[:size])
    return QuerySet(name, chosen, {id_: {id_: 1} for id_ in chosen}, corpus, notices=tuple(notices))


def _query(item: ItemTexts) -> str:
    return without_name(steam_html(item.short), item.name)


def _said(text: str) -> str:
    """The words of a text and nothing between them."""
    return "".join(word.folded for word in words_of(text))
