"""The status of a column as people ask for it: states, runs and the last attempt. Reads only."""

from dataclasses import asdict, dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.runs import column_runs
from steam_assets.store.schema_version import check_schema
from steam_assets.store.states import RangeState, range_state

LAST_RANGE = """
    SELECT range_key, status, rows_written, rows_per_s, device, dtype,
           to_json(date_trunc('second', started_at)) #>> '{}',
           to_json(date_trunc('second', finished_at)) #>> '{}',
           error
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
    ORDER BY range_id DESC
    LIMIT 1
"""


def is_initialised(conn: connection) -> bool:
    """Whether `init` has been here; raises SchemaMismatch when it was that of another version."""
    return check_schema(conn)


@dataclass(frozen=True)
class LastRange:
    """The newest attempt at a range of a column; times in ISO 8601."""

    range_key: str
    status: str
    rows_written: int | None
    rows_per_s: float | None
    device: str | None
    dtype: str | None
    started_at: str
    finished_at: str | None
    error: str | None


@dataclass(frozen=True)
class ColumnStatus:
    """What is true of a column now: rows by state for its target run, and who fills and serves it."""

    column: str
    model_name: str
    dimension: int
    target_run_id: int
    serving_run_id: int | None
    state: RangeState
    last_range: LastRange | None

    def as_json(self) -> dict[str, object]:
        """The status with its derived numbers, ready for json.dumps."""
        state = asdict(self.state)
        del state["offences"]
        return {
            **asdict(self),
            "state": {**state, "pending": self.state.pending},
            "coverage_percent": 100 * self.state.coverage,
        }


def column_status(conn: connection, column: TextColumn) -> ColumnStatus | None:
    """The column's status, counted in SQL now; None before `init` chose a model."""
    if not is_initialised(conn):
        return None
    runs = column_runs(conn, column)
    if runs.target is None:
        return None
    with conn.cursor() as cur:
        cur.execute(LAST_RANGE, (column.qualified_table, column.vector))
        row = cur.fetchone()
    return ColumnStatus(
        column=str(column),
        model_name=runs.target.model_name,
        dimension=runs.target.dimension,
        target_run_id=runs.target.run_id,
        serving_run_id=None if runs.serving is None else runs.serving.run_id,
        state=range_state(conn, column, runs.target.run_id, runs.target.dimension),
        last_range=None if row is None else LastRange(*row),
    )
