"""What is true of a column's rows: the state of each, decided in SQL, and their counts. Nothing here writes."""

from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UNIT_NORM_TOLERANCE
from steam_assets.id_range import EVERYTHING, IdRange

OFFENDERS_SHOWN = 5

# The states of DESIGN.md, the first that fits. `unembeddable` is this row's entry in embedding_failures for the current
# run and the current text; md5 is computed only for rows that have such an entry or a vector of the current run.
STATE = sql.SQL("""
    CASE
        WHEN t.{vector} IS NULL AND ({blank_text} OR unembeddable.kind = 'empty') THEN 'blank'
        WHEN unembeddable.kind = 'failed' THEN 'failed'
        WHEN t.{vector} IS NULL THEN 'missing'
        WHEN t.{run} = {run_id} AND NOT {blank_text} AND unembeddable.kind IS NULL
             AND t.{digest} = md5(t.{text})::uuid THEN 'embedded'
        ELSE 'stale'
    END
""")

# PostgreSQL's \s, as DESIGN.md says; a text of nothing but white space is blank.
# Its beginning is looked at first: that is one slice of a long text, where all of it had to be decompressed (20
# microseconds a row on 6 KB texts).
BLANK_TEXT = sql.SQL("(t.{text} IS NULL OR (left(t.{text}, 64) !~ '\\S' AND t.{text} !~ '\\S'))")

# Ids are compared as bytes here: equality needs no collation, and two columns' collations may differ. IS TRUE keeps md5
# out of the join's keys; the planner would hash every text of the table for them.
UNEMBEDDABLE = sql.SQL("""
    LEFT JOIN public.embedding_failures AS unembeddable
        ON unembeddable.table_name = {table_name}
       AND unembeddable.vector_column = {vector_name}
       AND unembeddable.run_id = {run_id}
       AND unembeddable.id COLLATE "C" = t.{id}::text COLLATE "C"
       AND unembeddable.released_at IS NULL
       AND (unembeddable.source_md5 = md5(t.{text})::uuid) IS TRUE
""")

# OFFSET 0 keeps the planner from putting each expression into every FILTER: a row's state, with its md5 and its norm,
# was computed some fifteen times, and a row took 50 microseconds instead of 9 (2026-11, 30,000 reviews, 384 numbers).
COUNT = sql.SQL("""
    WITH found AS (
        SELECT t.{id} AS id,
               {state} AS state,
               t.{vector} IS NOT NULL AS has_vector,
               t.{run} AS run_id,
               t.{digest} AS digest,
               CASE WHEN t.{vector} IS NOT NULL THEN vector_dims(t.{vector}::vector) END AS dimension,
               CASE WHEN t.{vector} IS NOT NULL THEN vector_norm(t.{vector}::vector) END AS norm,
               t.{vector} IS NOT NULL AND t.{digest} IS DISTINCT FROM md5(t.{text})::uuid AS drifted
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
        OFFSET 0
    )
    SELECT count(*),
           count(*) FILTER (WHERE state = 'blank'),
           count(*) FILTER (WHERE state = 'failed'),
           count(*) FILTER (WHERE state = 'embedded'),
           count(*) FILTER (WHERE state = 'stale'),
           count(*) FILTER (WHERE state = 'missing'),
           {offences}
    FROM found
    LEFT JOIN public.embedding_runs AS run ON run.run_id = found.run_id
""")

COUNT_ROWS = sql.SQL("SELECT count(*) FROM {table} AS t WHERE {in_range}")

# One condition per check; a row for which it is true is an offender of that check.
OFFENCES = {
    "pending": sql.SQL("state IN ('stale', 'missing')"),
    "failed": sql.SQL("state = 'failed'"),
    "dimension": sql.SQL("has_vector AND found.dimension IS DISTINCT FROM {dimension}"),
    "norm": sql.SQL("has_vector AND NOT (abs(norm - 1) <= {tolerance})"),
    # A failed row may keep the vector of an earlier run; `coverage` says so already.
    "provenance": sql.SQL(
        "has_vector AND state <> 'failed'"
        " AND (run.run_id IS NULL OR run.dimension <> found.dimension OR run.run_id <> {run_id})"
    ),
    "drift": sql.SQL("drifted"),
}


@dataclass(frozen=True)
class Offence:
    """Rows that break one rule: how many, and the first ids in the table's order."""

    rows: int
    first_ids: tuple[str, ...]


@dataclass(frozen=True)
class RangeState:
    """What one scan of an id range found: rows per state, and the rows that break a rule."""

    total: int
    blank: int
    failed: int
    embedded: int
    stale: int
    missing: int
    offences: dict[str, Offence]

    def __post_init__(self) -> None:
        if self.total != self.blank + self.failed + self.embedded + self.stale + self.missing:
            raise AssertionError(f"a row is in no state or in two: {self}")

    @property
    def pending(self) -> int:
        """Rows the next run encodes or clears."""
        return self.stale + self.missing

    @property
    def coverage(self) -> float:
        """Embedded rows per embeddable row, 0 to 1; 1 when nothing is embeddable."""
        embeddable = self.failed + self.embedded + self.pending
        return self.embedded / embeddable if embeddable else 1.0


def range_state(
    conn: connection, column: TextColumn, run_id: int, dimension: int, id_range: IdRange = EVERYTHING
) -> RangeState:
    """Count a range's rows by state for ``run_id``, and find those that break a rule, in one scan of the range."""
    offences = sql.SQL(",\n           ").join(
        sql.SQL(
            "count(*) FILTER (WHERE {rule}), (array_agg(id::text ORDER BY id) FILTER (WHERE {rule}))[1:{n}]"
        ).format(
            rule=rule.format(
                dimension=sql.Literal(dimension), tolerance=sql.Literal(UNIT_NORM_TOLERANCE), run_id=sql.Literal(run_id)
            ),
            n=sql.Literal(OFFENDERS_SHOWN),
        )
        for rule in OFFENCES.values()
    )
    with conn.cursor() as cur:
        cur.execute(
            COUNT.format(
                **names(column),
                state=state_of_row(column, run_id),
                unembeddable=join_unembeddable(column, run_id),
                in_range=in_range(column, id_range),
                offences=offences,
            )
        )
        counts = cur.fetchone()
    assert counts is not None
    found = {rule: Offence(counts[6 + 2 * n], tuple(counts[7 + 2 * n] or ())) for n, rule in enumerate(OFFENCES)}
    total, blank, failed, embedded, stale, missing = counts[:6]
    return RangeState(total, blank, failed, embedded, stale, missing, found)


def count_rows(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> int:
    """Rows of a range, whatever their state."""
    with conn.cursor() as cur:
        cur.execute(COUNT_ROWS.format(**names(column), in_range=in_range(column, id_range)))
        row = cur.fetchone()
    assert row is not None
    return int(row[0])


def names(column: TextColumn) -> dict[str, sql.Composable]:
    """The column's names as quoted identifiers, for ``sql.SQL(...).format(**names(column))``.

    Values of such a statement go in as sql.Literal: beside bound ones, a % in a name or an id would be a placeholder.
    """
    return {
        "table": sql.Identifier(column.schema, column.table),
        "id": sql.Identifier(column.id),
        "text": sql.Identifier(column.text),
        "vector": sql.Identifier(column.vector),
        "run": sql.Identifier(column.run),
        "digest": sql.Identifier(column.digest),
        "table_name": sql.Literal(column.qualified_table),
        "vector_name": sql.Literal(column.vector),
    }


def state_of_row(column: TextColumn, run_id: int) -> sql.Composed:
    """The state of row ``t`` as an expression; needs ``join_unembeddable`` in the FROM clause."""
    return STATE.format(**names(column), blank_text=BLANK_TEXT.format(**names(column)), run_id=sql.Literal(run_id))


def join_unembeddable(column: TextColumn, run_id: int) -> sql.Composed:
    """The join that brings a row's entry in embedding_failures, for its present text and ``run_id``."""
    return UNEMBEDDABLE.format(**names(column), run_id=sql.Literal(run_id))


def in_range(column: TextColumn, id_range: IdRange) -> sql.Composed:
    """Row ``t`` lies in the range; compared by the server in the column's own type and collation.

    A row whose id is NULL lies in no range: it cannot be named, so it is neither counted nor embedded.
    """
    bounds = [
        sql.SQL("t.{id} {operator} {bound}").format(
            id=sql.Identifier(column.id), operator=sql.SQL(operator), bound=sql.Literal(bound)
        )
        for operator, bound in ((">=", id_range.start), ("<", id_range.stop))
        if bound is not None
    ]
    return sql.SQL(" AND ").join(bounds or [sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(column.id))])
