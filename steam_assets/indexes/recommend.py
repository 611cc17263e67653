"""Which variant of an index to build, by what was measured, and why; the figures as cells of a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.variant_records import EXACT, Measurement, VariantFigures, latest_measurement

QUICK_MS = 10.0
"""A search that takes longer at p95 is felt beside the encoding of its query, 10 to 30 ms on a CPU."""
NOT_TO_BUILD = (EXACT, "truncated")
HEADER = (
    *("variant", "ef_search", "recall@10", "@100", "MB", "of vector", "build s", "p50 ms", "p95 ms"),
    *("queries/s", "of 8 clients"),
)


@dataclass(frozen=True)
class Recommendation:
    """The variant to build for a recall@10, with its figures, what builds it, and why it is this one.

    ``command`` is None when no variant reaches the recall: searches then compare every row.
    """

    column: str
    recall: float
    run_id: int
    figures: VariantFigures
    command: str | None
    reason: str
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def recommend(
    conn: connection, column: TextColumn, run_id: int, recall: float, rows: int | None = None
) -> Recommendation:
    """The variant for a recall@10, from the newest measurement of the serving run; ``rows`` is how many it has now.

    Raises SteamAssetsError when that run was not measured.
    """
    measured = latest_measurement(conn, column, run_id)
    if measured is None:
        other = latest_measurement(conn, column, None)
        of_another = "" if other is None else f" There are measurements of run {other.run_id}, whose vectors differ."
        raise SteamAssetsError(
            f"No variant of an index was measured on run {run_id} of {column}.{of_another} Next: `steam-assets index "
            f"measure {column}`."
        )
    return choose(column, measured, recall, rows)


def choose(column: TextColumn, measured: Measurement, recall: float, rows: int | None = None) -> Recommendation:
    """The smallest index that reaches the recall and answers within QUICK_MS at p95; else the quickest that reaches it.

    Truncated vectors are never recommended: which numbers of a vector matter is its model's affair, and one that was
    not trained for it loses half of the neighbours (research/encoder.md 6).
    """
    reaching = at_recall(measured.figures, recall)
    on = measured.figures[0].rows
    notices = [
        f"Comparing every row took {row.ms_p95:.1f} ms at p95 on the copy: so few rows can do without an index."
        for row in measured.figures
        if row.variant == EXACT and row.ms_p95 <= QUICK_MS
    ]
    if rows is not None and rows > 2 * on:
        notices.append(
            f"Measured on {on:,} rows, and there are {rows:,}: recall at an ef_search falls as rows get more. "
            "`steam-assets index build` measures it again on all of them, and takes the ef_search it needs."
        )
    if not reaching:
        best = max(measured.figures, key=lambda row: -1.0 if row.variant in NOT_TO_BUILD else row.recall_10)
        return Recommendation(
            *(str(column), recall, measured.run_id, best, None),
            f"no variant reached recall@10 {recall}; the best is {best.variant}, {best.recall_10:.4f} at ef_search "
            f"{best.ef_search}. Measure with `--recall {recall}`, ask for less, or go on comparing every row",
            tuple(notices),
        )
    quick = [row for row in reaching if row.ms_p95 <= QUICK_MS]
    chosen = min(quick, key=lambda row: row.bytes) if quick else min(reaching, key=lambda row: row.ms_p95)
    why = f"the smallest of {len(quick)} that answer within {QUICK_MS:.0f} ms at p95" if quick else "the quickest"
    return Recommendation(
        *(str(column), recall, measured.run_id, chosen),
        f"steam-assets index build {column} --variant {chosen.variant} --recall {recall}",
        f"recall@10 {chosen.recall_10:.4f} at ef_search {chosen.ef_search}, {chosen.bytes / 1e6:,.1f} MB, p95 "
        f"{chosen.ms_p95:.1f} ms on {chosen.rows:,} rows: {why}, of {len(reaching)} that reach {recall}",
        tuple(notices),
    )


def at_recall(figures: Sequence[VariantFigures], recall: float) -> list[VariantFigures]:
    """Each variant that can be built, at the smallest ef_search with which it reaches the recall@10."""
    found: dict[str, VariantFigures] = {}
    for row in sorted(figures, key=lambda row: row.ef_search or 0):
        if row.variant not in NOT_TO_BUILD and row.recall_10 >= recall:
            found.setdefault(row.variant, row)
    return list(found.values())


def figure_cells(figures: Sequence[VariantFigures]) -> list[tuple[str, ...]]:
    """The figures as cells under HEADER; sizes beside that of the index of whole vectors too."""
    whole = next((row.bytes for row in figures if row.variant == "vector"), 0)
    return [
        (
            row.variant,
            "" if row.ef_search is None else str(row.ef_search),
            f"{row.recall_10:.4f}",
            f"{row.recall_100:.4f}",
            f"{row.bytes / 1e6:,.1f}" if row.bytes else "",
            f"{row.bytes / whole:.2f}" if row.bytes and whole else "",
            f"{row.seconds:,.1f}" if row.bytes else "",
            f"{row.ms_p50:,.2f}",
            f"{row.ms_p95:,.2f}",
            f"{row.queries_per_s:,.0f}",
            f"{row.queries_per_s_of_clients:,.0f}",
        )
        for row in figures
    ]
