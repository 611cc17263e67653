"""Every index on a column's vectors: ours and others', there or dropped, and whether searches go through it."""

from dataclasses import dataclass

from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import (
    BEING_BUILT,
    REPLACED,
    IndexRecord,
    index_records,
    is_up_to_date,
    serving_record,
)
from steam_assets.store.hnsw_drop import drop_leftovers
from steam_assets.store.hnsw_lock import IndexBeingBuilt, building
from steam_assets.store.runs import column_runs
from steam_assets.store.vector_indexes import DroppedIndex, dropped_indexes, vector_indexes


@dataclass(frozen=True)
class ListedIndex:
    """An index as a person asks for it; what is None is not known of an index that we have not built.

    ``state`` says whether searches use it, or why not; ``built_at`` is ISO 8601, ``recall`` that of the 10 nearest.
    """

    column: str
    name: str
    variant: str | None
    run_id: int | None
    rows: int | None
    bytes: int | None
    m: int | None
    ef_construction: int | None
    ef_search: int | None
    recall: float | None
    seconds: float | None
    built_at: str | None
    is_used: bool
    state: str
    definition: str | None


def clear_leftovers(conn: connection, column: TextColumn) -> list[str]:
    """Drop what killed builds of the column have left, if nobody builds now and we may; the names of the dropped."""
    try:
        with building(conn, column):
            return drop_leftovers(conn, column)
    except (IndexBeingBuilt, errors.InsufficientPrivilege):
        return []


def list_indexes(conn: connection, column: TextColumn) -> list[ListedIndex]:
    """Indexes of ours, the last chosen first, then others', then those that were dropped and are not there again."""
    runs = column_runs(conn, column)
    searched = runs.serving or runs.target
    used = None if searched is None else serving_record(conn, column, searched.run_id)
    dropped = {record.name: record for record in dropped_indexes(conn, column)}
    ours = index_records(conn, column)
    searched_id = None if searched is None else searched.run_id
    listed = [
        _ours(
            column,
            record,
            used is not None and used.name == record.name,
            _why_not(record, searched_id, dropped, is_up_to_date(conn, column, record)),
        )
        for record in ours
    ]
    present = vector_indexes(conn, column)
    known = {record.name for record in ours}
    listed += [
        _other(column, index.name, f"not ours: searches do not use it ({index.method})", index.bytes, index.definition)
        for index in present
        if index.name.removesuffix(BEING_BUILT).removesuffix(REPLACED) not in known
    ]
    there = known | {index.name for index in present}
    listed += [
        _other(column, name, _dropped(record), None, record.definition)
        for name, record in dropped.items()
        if name not in there
    ]
    return listed


def _ours(column: TextColumn, record: IndexRecord, is_used: bool, why_not: str) -> ListedIndex:
    return ListedIndex(
        column=str(column),
        name=record.name,
        variant=record.variant,
        run_id=record.run_id,
        rows=record.rows,
        bytes=record.bytes,
        m=record.m,
        ef_construction=record.ef_construction,
        ef_search=record.ef_search,
        recall=record.recall,
        seconds=record.seconds,
        built_at=record.built_at.isoformat(timespec="seconds"),
        is_used=is_used,
        state="searches use it" if is_used else why_not,
        definition=None,
    )


def _why_not(
    record: IndexRecord, searched_run_id: int | None, dropped: dict[str, DroppedIndex], up_to_date: bool
) -> str:
    if not record.is_there:
        was_dropped = dropped.get(record.name)
        return "gone, or left invalid by a crash" if was_dropped is None else _dropped(was_dropped)
    if record.run_id != searched_run_id:
        read = "no run" if searched_run_id is None else f"run {searched_run_id}"
        return f"of run {record.run_id}: searches of this column read {read}"
    if record.recall is None:
        return "not measured yet"
    return "one chosen later is used" if up_to_date else "rows were written since it was projected"


def _dropped(record: DroppedIndex) -> str:
    return f"dropped for bulk work on {record.dropped_at:%Y-%m-%d}, and not built again"


def _other(column: TextColumn, name: str, state: str, size: int | None, definition: str) -> ListedIndex:
    return ListedIndex(
        *(str(column), name, None, None, None, size, None, None, None, None, None, None),
        is_used=False,
        state=state,
        definition=definition,
    )
