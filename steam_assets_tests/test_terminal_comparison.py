"""A comparison as people read it, on a terminal and in the web UI."""

from pathlib import Path

from psycopg2.extensions import connection

from steam_assets.evaluation.compare import compare, table_rows
from steam_assets.terminal_comparison import comparison_lines, markdown_table
from steam_assets_tests.compared import QUERIES, load, make_compared
from steam_assets_tests.rows import Connect


def test_both_columns_stand_beside_each_other_and_what_it_means_below(
    conn: connection, connect: Connect, home: Path
) -> None:
    """A header with their names, a line for what is compared, a sentence for each metric, and what was left out."""
    first, second = make_compared(conn, home)
    found = compare(connect, first, second, QUERIES, load)
    lines = comparison_lines(found).splitlines()
    assert lines[0].split() == ["words", "of", "notes", "notes.body_vector", "notes.rival_vector"]
    rows = table_rows(found)
    assert [line.split("  ")[0] for line in lines[1 : len(rows) + 1]] == [name for name, _, _ in rows]
    assert lines[len(rows) + 1].startswith("ndcg@10: notes.body_vector is better (-")
    assert f"Of the first 10 hits {100 * found.overlap:.1f} % are in both (24 queries)" in lines[len(rows) + 3]
    assert lines[-1].startswith("(notes.rival_vector is searched because it was named")
    markdown = markdown_table(found).splitlines()
    assert markdown[0] == "| words of notes | notes.body_vector | notes.rival_vector |"
    assert (markdown[1], len(markdown)) == ("| --- | ---: | ---: |", len(rows) + 2)
