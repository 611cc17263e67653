"""Comparisons of columns as metadata: numbers that the web UI plots over time, a table, a picture and JSON."""

import re
from collections.abc import Sequence

import dagster as dg

from steam_assets.defs.png import markdown_png
from steam_assets.evaluation.compare import Comparison
from steam_assets.evaluation.compare_plot import comparison_png
from steam_assets.terminal_comparison import comparison_table, overlap_line


def comparison_metadata(comparisons: Sequence[Comparison]) -> dict[str, dg.MetadataValue]:
    """Each comparison's, under the name of its second column where there are several."""
    if len(comparisons) == 1:
        return _of_one(comparisons[0])
    return {
        f"{re.sub(r'[^A-Za-z0-9_]', '_', one.second.column.rpartition('.')[2])}_{name}": value
        for one in comparisons
        for name, value in _of_one(one).items()
    }


def _of_one(comparison: Comparison) -> dict[str, dg.MetadataValue]:
    found: dict[str, dg.MetadataValue] = {
        "verdict": dg.MetadataValue.md("\n\n".join([*comparison.verdicts, overlap_line(comparison)])),
        "columns": dg.MetadataValue.md(comparison_table(comparison)),
        "plot": markdown_png(comparison_png(comparison), "scores of both columns, and their differences"),
        "overlap_at_10": dg.MetadataValue.float(comparison.overlap),
        "comparison": dg.MetadataValue.json(comparison.as_json()),
    }
    for name, difference in comparison.differences.items():
        metric = name.replace("@", "_at_")
        found[f"{metric}_difference"] = dg.MetadataValue.float(difference.difference)
        found[f"{metric}_p_value"] = dg.MetadataValue.float(difference.p_value)
    return found
