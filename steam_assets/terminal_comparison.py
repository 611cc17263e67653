"""How a comparison of two columns looks on a terminal and in the web UI: tables as text and as Markdown."""

from steam_assets.evaluation.compare import Comparison, table_rows
from steam_assets.terminal import duration, markdown_table, table


def comparison_lines(comparison: Comparison) -> str:
    """Both columns beside each other, then what the differences mean."""
    return "\n".join(
        [
            table(_header(comparison), table_rows(comparison)),
            *comparison.verdicts,
            overlap_line(comparison),
            *(f"({notice})" for notice in comparison.notices),
        ]
    )


def comparison_table(comparison: Comparison) -> str:
    """The same table for the web UI."""
    return markdown_table(_header(comparison), table_rows(comparison))


def overlap_line(comparison: Comparison) -> str:
    """How alike searches of the two are."""
    return (
        f"Of the first 10 hits {100 * comparison.overlap:.1f} % are in both ({comparison.searches:,} queries); the "
        f"comparison took {duration(comparison.seconds)}."
    )


def _header(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.query_set, comparison.first.column, comparison.second.column
