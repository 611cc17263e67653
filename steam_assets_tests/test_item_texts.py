"""Pages for known items: those with the descriptions that are needed, shuffled by seed, read as they are stored."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.store import item_texts
from steam_assets.store.item_texts import ItemTexts, count_pages, has_item_texts, item_ids, read_items
from steam_assets_tests.known_pages import add_pages
from steam_assets_tests.rows import execute

LONG = "x" * 100


def test_only_pages_with_both_descriptions_are_candidates(conn: connection) -> None:
    """Blank, missing and tiny ones are not; the long one may stand in either of two columns."""
    add_pages(
        conn,
        [
            ("both", "y" * 20, LONG),
            ("short only", "y" * 20, None),
            ("long only", None, LONG),
            ("tiny", "y" * 19, LONG),
            ("too short", "y" * 20, "x" * 99),
            ("blank", "y" * 20, "  "),
        ],
    )
    execute(conn, "UPDATE applications SET detailed_description = %(long)s WHERE name = 'blank'", long=LONG)
    assert set(item_ids(conn, APPLICATIONS, 0, 20, 100)) == {10, 60}
    assert set(item_ids(conn, APPLICATIONS, 0, 20, None)) == {10, 20, 50, 60}
    assert count_pages(conn, APPLICATIONS) == 6


def test_a_seed_gives_one_order(conn: connection) -> None:
    """Not the table's order, and the same again after rows were rewritten."""
    add_pages(conn, [(f"Game {n}", "y" * 20, LONG) for n in range(40)])
    first = item_ids(conn, APPLICATIONS, 1, 20, 100)
    execute(conn, "UPDATE applications SET is_free = true WHERE appid <= 200")
    assert item_ids(conn, APPLICATIONS, 1, 20, 100) == first != sorted(first)
    assert item_ids(conn, APPLICATIONS, 2, 20, 100) != first
    assert len(first) == 40


def test_texts_come_in_the_order_asked_a_page_at_a_time(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows deleted meanwhile are missing; a name that is NULL is empty."""
    monkeypatch.setattr(item_texts, "PAGE_ROWS", 2)
    add_pages(conn, [(None, "short 1", "long 1"), ("Two", "short 2", None), ("Three", "short 3", "long 3")])
    assert list(read_items(conn, APPLICATIONS, [30, 99, 10, 20])) == [
        ItemTexts("30", "Three", "short 3", "long 3"),
        ItemTexts("10", "", "short 1", "long 1"),
        ItemTexts("20", "Two", "short 2", None),
    ]
    assert list(read_items(conn, APPLICATIONS, [])) == []


def test_a_table_without_descriptions_is_told_from_one_with_them(conn: connection) -> None:
    """Any text column may be embedded; known items are made of store pages only."""
    assert has_item_texts(conn, APPLICATIONS)
    assert not has_item_texts(conn, REVIEWS)
