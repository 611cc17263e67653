"""A comparison as people read it, on a terminal and in the web UI."""

from steam_assets.evaluation.compare import Comparison, table_rows
from steam_assets.terminal_comparison import comparison_lines, comparison_table


def test_both_columns_stand_beside_each_other_and_what_it_means_below(compared: Comparison) -> None:
    """A header with their names, a line for what is compared, a sentence for each metric, and what was left out."""
    lines = comparison_lines(compared).splitlines()
    assert lines[0].split() == ["words", "of", "notes", "notes.body_vector", "notes.rival_vector"]
    rows = table_rows(compared)
    assert [line.split("  ")[0] for line in lines[1 : len(rows) + 1]] == [name for name, _, _ in rows]
    assert lines[len(rows) + 1].startswith("ndcg@10: notes.body_vector is better (-")
    assert f"Of the first 10 hits {100 * compared.overlap:.1f} % are in both (24 queries)" in lines[len(rows) + 3]
    assert lines[-1].startswith("(notes.rival_vector is searched because it was named")
    markdown = comparison_table(compared).splitlines()
    assert markdown[0] == "| words of notes | notes.body_vector | notes.rival_vector |"
    assert (markdown[1], len(markdown)) == ("| --- | ---: | ---: |", len(rows) + 2)
