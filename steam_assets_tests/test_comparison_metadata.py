"""Several comparisons of one text are told apart by the column that is compared."""

from dataclasses import replace
from pathlib import Path

from psycopg2.extensions import connection

from steam_assets.defs.comparison_metadata import comparison_metadata
from steam_assets.evaluation.compare import compare
from steam_assets_tests.compared import QUERIES, load, make_compared
from steam_assets_tests.rows import Connect


def test_each_of_several_comparisons_has_its_own_entries(conn: connection, connect: Connect, home: Path) -> None:
    """One alone needs no prefix; p-values and differences are numbers that the web UI plots over time."""
    first, second = make_compared(conn, home)
    found = compare(connect, first, second, QUERIES, load)
    alone = comparison_metadata([found])
    assert {"verdict", "columns", "plot", "overlap_at_10", "comparison"} < set(alone)
    assert alone["ndcg_at_10_p_value"].value == found.differences["ndcg@10"].p_value
    third = replace(found, second=replace(found.second, column="notes.third vector"))
    both = comparison_metadata([found, third])
    assert set(both) == {f"{name}_{entry}" for name in ("rival_vector", "third_vector") for entry in alone}
