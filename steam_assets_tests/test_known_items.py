"""Known items: a page's short description without its name has to find the rest of its long description."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.encoder.steam_html import steam_html
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.known_items import Sampling, known_items, known_items_in_column
from steam_assets.evaluation.query_set import BadQuerySet
from steam_assets_tests.known_pages import FILLER, PAGES, add_known_pages, add_pages
from steam_assets_tests.rows import Connect


def test_neither_names_nor_copied_sentences_give_a_page_away(conn: connection, connect: Connect) -> None:
    """Every page is a document; its query has no word of the name, the document no sentence of the query."""
    add_known_pages(conn)
    found = known_items(connect, APPLICATIONS)
    assert found.name == "known-items"
    assert found.corpus is not None
    assert set(found.corpus) == set(found.queries) == {"10", "20", "30", "40", "50", "60"}
    assert found.qrels["30"] == {"30": 1}
    assert found.queries["10"] == "… is a cozy village life with chickens."
    assert found.queries["30"] == "Connect growing cities in … with tracks and signals."
    for number, (_, short, more) in enumerate(PAGES, start=1):
        document = steam_html(found.corpus[str(10 * number)])
        assert document == f".\n{more} {FILLER}"
        assert short.split()[-1] not in document


def test_the_set_is_the_same_for_everyone_and_another_for_another_seed(conn: connection, connect: Connect) -> None:
    """Its digest says so; fewer queries are a part of more."""
    add_known_pages(conn)
    four = known_items(connect, APPLICATIONS, Sampling(queries=4, documents=5))
    assert four.corpus is not None
    assert (len(four.queries), len(four.corpus)) == (4, 5)
    assert four.digest == known_items(connect, APPLICATIONS, Sampling(queries=4, documents=5)).digest
    assert four.digest != known_items(connect, APPLICATIONS, Sampling(queries=4, documents=5, seed=1)).digest
    two = known_items(connect, APPLICATIONS, Sampling(queries=2, documents=5))
    assert list(two.queries) == list(four.queries)[:2]
    assert two.corpus == four.corpus


def test_pages_that_no_search_could_tell_apart_are_left_out_and_counted(conn: connection, connect: Connect) -> None:
    """Whose long description says nothing more, or is another page's, or whose short one is, or is all name."""
    long = "Plant turnips, feed the chickens, mend the fence and sell what you grew at the market by the river, " * 2
    same = "A description that goes on and on, and that is all there is to say about this game of patience and delay."
    add_pages(
        conn,
        [
            ("One", "A farm by the river for everyone.", f"{long} one"),
            ("Two", "Another farm by the lake for all.", f"<i>{long}</i> one!"),
            ("Three", same, same),
            ("Four", "A train set for the whole family.", f"{long} four"),
            ("Five", "A train set for the whole family!", f"{long} five"),
            ("Racing Simulator Deluxe", "Racing Simulator Deluxe 2 is ok", f"{long} six"),
            ("Seven", "No long description at all, alas.", None),
        ],
    )
    found = known_items(connect, APPLICATIONS)
    assert found.corpus is not None
    assert len(found.corpus) == 4
    assert len(found.queries) == 1
    assert found.notices[0] == "6 of 7 pages have a short and a long description."
    assert set(found.notices[1:]) == {
        "1 pages say hardly more than their short description, and were left out.",
        "1 pages have the long description of another page, and were left out.",
        "3 short descriptions say little without the name, or are of several pages.",
    }


@pytest.mark.parametrize("sampling", [{"queries": 0}, {"queries": -1}, {"documents": 0}, {"documents": -1}], ids=str)
def test_a_sample_of_nothing_is_refused(sampling: dict[str, int]) -> None:
    """The web UI takes any number; without the refusal all pages would be documents, or all queries but one asked."""
    with pytest.raises(SteamAssetsError, match=r"A sample of -?\d \w+ was asked for; expected 1 or more"):
        Sampling(**sampling)


def test_in_the_column_every_page_with_a_short_description_is_an_item(conn: connection, connect: Connect) -> None:
    """The documents are the rows themselves."""
    add_known_pages(conn)
    conn.cursor().execute("UPDATE applications SET about_the_game = NULL")
    conn.commit()
    found = known_items_in_column(connect, APPLICATIONS)
    assert (found.name, found.corpus) == ("known-items-in-column", None)
    assert found.queries["30"] == "Connect growing cities in … with tracks and signals."
    assert len(found.queries) == 6
    assert len(known_items_in_column(connect, APPLICATIONS, Sampling(queries=2)).queries) == 2


def test_without_pages_it_says_what_to_load(connect: Connect) -> None:
    """And that a set of one's own does as well."""
    with pytest.raises(BadQuerySet, match=r"No page of applications has .* `steam-assets load FILES`, or give a query"):
        known_items(connect, APPLICATIONS)


def test_a_table_that_is_not_of_pages_needs_a_set_of_its_own(connect: Connect) -> None:
    """Reviews have no short description."""
    with pytest.raises(BadQuerySet, match=r"reviews has no name, short_description.* Give a query set of your own"):
        known_items(connect, REVIEWS)
