"""Which of a text's vector columns searches read: moved to another one that is complete, and back. SQL is store/'s."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS, TextColumn, rivals
from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.indexes.ready import finding_of
from steam_assets.rules import broken_blocking_rules, description
from steam_assets.store.catalog import find_table
from steam_assets.store.hnsw import serving_index
from steam_assets.store.promotions import (
    ColumnRow,
    PromotionRecord,
    column_rows,
    lock_columns,
    mark_undone,
    newest_promotion,
    record_promotion,
    serve,
)
from steam_assets.store.runs import EmbeddingRun, get_run
from steam_assets.targets import target_run


class NotPromoted(SteamAssetsError):
    """Searches stay with the column that they read, because there is nothing to move."""


class NotReady(NotPromoted):
    """Searches stay with the column that they read, because another lacks vectors."""

    exit_code = EXIT_INCOMPLETE


@dataclass(frozen=True)
class Promoted:
    """What searches read now, and what they read before; ``former`` is None where they read nothing.

    ``notice`` is what is left to do.
    """

    column: str
    model_name: str
    run_id: int
    former: str | None
    former_run_id: int | None
    notice: str | None


def promote(conn: connection, column: TextColumn, columns: Sequence[TextColumn] = COLUMNS) -> Promoted:
    """Let searches read the column's target run, and no longer what they read of its text until now. Does not commit.

    A search sees either the one or the other: it moves with the transaction. Raises NotPromoted unless the column is
    complete and its vectors are all of that run.
    """
    run = target_run(conn, column)
    check_promotable(column, run, column_rows(conn, column, columns).get(column.vector))
    if wrong := what_is_wrong(conn, column, run):
        raise NotReady(
            f"{column} is not ready to be searched by run {run.run_id} ({run.model_name}). {wrong} "
            "Then promote it again."
        )
    # The scan may have taken a while, and nobody was kept waiting for it: look again, now that nothing can change.
    rows = lock_columns(conn, column, columns)
    check_promotable(column, run, rows.get(column.vector))
    former = _serving(rows)
    serve(conn, column, column.vector, run.run_id, list(rows))
    record_promotion(conn, column, former, run.run_id)
    return _promoted(conn, column, run, former)


def undo_promotion(conn: connection, column: TextColumn, columns: Sequence[TextColumn] = COLUMNS) -> Promoted:
    """Let searches read again what they read before the newest promotion of the column's text. Does not commit.

    ``column`` may be either of the two. Raises NotPromoted when the former does not hold its vectors of then any more.
    """
    found = column_rows(conn, column, columns)
    newest = undoable(conn, column, found)
    what, run_id = told(column, newest), newest.from_run_id
    former = next((c for c in (column, *rivals(column, columns)) if c.vector == newest.from_vector), None)
    if former is None or run_id is None or former.vector not in found:
        raise NotPromoted(f"{what} stays: {_named(column, newest.from_vector)} was dropped, or has left columns.py.")
    run = get_run(conn, run_id)
    if wrong := what_is_wrong(conn, former, run):
        target = found[former.vector].target_run_id
        remedy = (
            f"{wrong} Then undo again."
            if target == run_id
            else f"It is filled with run {target} by now, which `steam-assets promote {former}` serves."
        )
        raise NotReady(f"{what} stays: {former} does not hold all vectors of run {run_id}. {remedy}")
    rows = lock_columns(conn, column, columns)
    if undoable(conn, column, rows) != newest:
        raise NotPromoted(
            f"Searches of {column.qualified_table} were moved meanwhile. Look again before you undo that."
        )
    left = _serving(rows)
    serve(conn, former, former.vector, run_id, list(rows))
    mark_undone(conn, newest.promotion_id)
    return _promoted(conn, former, run, left)


def undoable(conn: connection, column: TextColumn, rows: Mapping[str, ColumnRow]) -> PromotionRecord:
    """The newest promotion of the column's text; raises NotPromoted where there is none to undo."""
    newest = newest_promotion(conn, column, list(rows))
    if newest is None:
        raise NotPromoted(f"No column of {column.qualified_table} was promoted: there is nothing to undo.")
    if newest.undone_at is not None:
        raise NotPromoted(
            f"{told(column, newest)} is undone already. `steam-assets promote COLUMN` moves searches to another column."
        )
    if newest.from_vector is None:
        raise NotPromoted(f"{told(column, newest)} stays: nothing was searched before it.")
    return newest


def told(column: TextColumn, promotion: PromotionRecord) -> str:
    """A promotion as a message names it."""
    return f"The promotion of {_named(column, promotion.to_vector)} on {promotion.promoted_at:%Y-%m-%d %H:%M}"


def check_promotable(column: TextColumn, run: EmbeddingRun, row: ColumnRow | None) -> None:
    """Raise NotPromoted where searches read this run of the column already, or it is not the column's target now."""
    if row is None or row.target_run_id != run.run_id:
        raise NotPromoted(f"Another model was chosen for {column} meanwhile. `steam-assets status` says which.")
    if row.serving_run_id == run.run_id:
        raise NotPromoted(f"Searches read {column} already: run {run.run_id}, {run.model_name}.")


def what_is_wrong(conn: connection, column: TextColumn, run: EmbeddingRun) -> str | None:
    """What keeps the column from being searched by this run, and what mends it, found now; None where nothing does.

    The rules are those of the blocking checks.
    """
    table = find_table(conn, column.schema, column.table)
    if table is None or not {column.vector, column.run, column.digest} <= set(table.columns):
        return f"{column.qualified_table} has no column {column.vector}: `steam-assets init` adds it."
    finding = finding_of(conn, column, run)
    return " ".join(description(rule, column, [finding]) or "" for rule in broken_blocking_rules(finding)) or None


def index_notice(conn: connection, column: TextColumn, run_id: int) -> str | None:
    """What to do where searches of this run compare every row; None where they have an index."""
    if serving_index(conn, column, run_id) is not None:
        return None
    return f"No index holds these vectors yet: searches compare every row until `steam-assets index build {column}`."


def _promoted(conn: connection, column: TextColumn, run: EmbeddingRun, former: ColumnRow | None) -> Promoted:
    return Promoted(
        column=str(column),
        model_name=run.model_name,
        run_id=run.run_id,
        former=None if former is None else _named(column, former.vector),
        former_run_id=None if former is None else former.serving_run_id,
        notice=index_notice(conn, column, run.run_id),
    )


def _serving(rows: Mapping[str, ColumnRow]) -> ColumnRow | None:
    return next((row for row in rows.values() if row.serving_run_id is not None), None)


def _named(column: TextColumn, vector: str | None) -> str:
    return f"{column.qualified_table}.{vector}"
