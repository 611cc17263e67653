"""Reasons are those that were recorded for these rows of this column and run."""

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.store.failure_reasons import failure_reasons
from steam_assets.store.failures import record_unembeddable
from steam_assets_tests.rows import add_rows, change_recipe, target_of

ODD = 'a"b, \\ {c}'


def test_the_reasons_of_failed_rows_are_found_by_their_ids(conn: connection, notes: TextColumn) -> None:
    """Those asked for and no others; a blank row has none, and another run's are not this one's."""
    add_rows(conn, notes, {ODD: "x", "b": "y", "c": "z", "d": ""})
    first = target_of(conn, notes)
    other = change_recipe(conn, notes, "second")
    digest = bytes(16)
    rows = {ODD: "NaN", "b": "too deep", "c": "not asked for"}
    record_unembeddable(conn, notes, first, [UnembeddableRow(id_, digest, why) for id_, why in rows.items()])
    record_unembeddable(conn, notes, first, [UnembeddableRow("d", digest, None)])
    record_unembeddable(conn, notes, other, [UnembeddableRow("b", digest, "another reason")])

    assert failure_reasons(conn, notes, first, [ODD, "b", "d", "nowhere"]) == {ODD: "NaN", "b": "too deep"}
    assert failure_reasons(conn, notes, other, ["b"]) == {"b": "another reason"}
    assert failure_reasons(conn, notes, first, []) == {}
