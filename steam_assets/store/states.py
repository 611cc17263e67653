"""What is true of a column's rows: the state of each, decided in SQL, and their counts. Nothing here writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
# was computed some fifteen times, and a row took 50 microseconds instead of 7 (2026-11, 30,000 reviews, 384 numbers). A
# type with a dimension admits no other, so vectors are looked into for it only where the type has none.
FOUND = sql.SQL("""
    WITH judged AS (
        SELECT t.{id} AS id,
               t.{text} AS source,
               {state} AS state,
               t.{vector} IS NOT NULL AS has_vector,
               t.{run} AS run_id,
               t.{digest} AS digest,
               CASE WHEN t.{vector} IS NOT NULL THEN coalesce(({declared}), vector_dims(t.{vector}::vector)) END
                   AS dimension,
               CASE WHEN t.{vector} IS NOT NULL THEN vector_norm(t.{vector}::vector) END AS norm
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
        OFFSET 0
    ),
    found AS (
        SELECT id, state, has_vector, run_id, dimension, norm,
               has_vector AND state <> 'embedded' AND digest IS DISTINCT FROM md5(source)::uuid AS drifted
        FROM judged
        OFFSET 0
    )
""")

DECLARED_DIMENSION = sql.SQL("""
    SELECT nullif(a.atttypmod, -1)
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = {schema_literal} AND c.relname = {table_literal} AND a.attname = {vector_name}
""")

# Counts alone can be summed by several processes of the server; the ids of offenders, which need an order, cannot.
COUNT = sql.SQL("""
    {found}
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

FIRST_IDS = sql.SQL("""
    {found}
    SELECT {first_ids}
    FROM found
    LEFT JOIN public.embedding_runs AS run ON run.run_id = found.run_id
""")

COUNT_ROWS = sql.SQL("SELECT count(*) FROM {table} AS t WHERE {in_range}")

ESTIMATE_ROWS = """
    SELECT greatest(t.reltuples, 0)::bigint
    FROM pg_class AS t
    JOIN pg_namespace AS s ON s.oid = t.relnamespace
    WHERE s.nspname = %s
      AND t.relname = %s
"""

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
    """Count a range's rows by state for ``run_id``, and those that break a rule, in one scan of the range.

    Where there are such rows a second scan names the first of them.
    """
    found = FOUND.format(
        **names(column),
        state=state_of_row(column, run_id),
        unembeddable=join_unembeddable(column, run_id),
        in_range=in_range(column, id_range),
        declared=DECLARED_DIMENSION.format(
            schema_literal=sql.Literal(column.schema),
            table_literal=sql.Literal(column.table),
            vector_name=sql.Literal(column.vector),
        ),
    )
    rules = {
        name: rule.format(
            dimension=sql.Literal(dimension), tolerance=sql.Literal(UNIT_NORM_TOLERANCE), run_id=sql.Literal(run_id)
        )
        for name, rule in OFFENCES.items()
    }
    counts = _one_row(conn, COUNT.format(found=found, offences=_for_each(rules, "count(*) FILTER (WHERE {rule})")))
    broken = {name: rows for name, rows in zip(rules, counts[6:], strict=True) if rows}
    firsts: dict[str, tuple[str, ...]] = {}
    if broken:
        first_ids = _for_each({name: rules[name] for name in broken}, FIRST_IDS_OF_A_RULE)
        ids = _one_row(conn, FIRST_IDS.format(found=found, first_ids=first_ids))
        firsts = {name: tuple(found or ()) for name, found in zip(broken, ids, strict=True)}
    offences = {name: Offence(broken.get(name, 0), firsts.get(name, ())) for name in rules}
    total, blank, failed, embedded, stale, missing = counts[:6]
    return RangeState(total, blank, failed, embedded, stale, missing, offences)


FIRST_IDS_OF_A_RULE = f"(array_agg(id::text ORDER BY id) FILTER (WHERE {{rule}}))[1:{OFFENDERS_SHOWN}]"


def _for_each(rules: Mapping[str, sql.Composable], expression: str) -> sql.Composed:
    return sql.SQL(",\n           ").join(sql.SQL(expression).format(rule=rule) for rule in rules.values())


def _one_row(conn: connection, query: sql.Composed) -> tuple[Any, ...]:
    with conn.cursor() as cur:
        cur.execute(query)
        row = cur.fetchone()
    assert row is not None
    return tuple(row)


def count_rows(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> int:
    """Rows of a range, whatever their state."""
    with conn.cursor() as cur:
        cur.execute(COUNT_ROWS.format(**names(column), in_range=in_range(column, id_range)))
        row = cur.fetchone()
    assert row is not None
    return int(row[0])


def estimated_rows(conn: connection, column: TextColumn) -> int:
    """Rows of the table as PostgreSQL last counted them, 0 where it never has: counting reads all of it."""
    with conn.cursor() as cur:
        cur.execute(ESTIMATE_ROWS, (column.schema, column.table))
        (rows,) = cur.fetchone() or (0,)
    return int(rows)


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
