"""Rows that get no vector, kept by name with the reason until their text or the recipe changes, or someone retries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.states import in_range, names

FAILED_ROWS_ALLOWED = 0.001
"""Quarantined rows per row of a range that are no reason to stop: what is downstream may go on."""

PAGE_ROWS = 1_000

RECORD_UNEMBEDDABLE = """
    INSERT INTO public.embedding_failures AS known
           (table_name, vector_column, run_id, id, source_md5, kind, reason)
    VALUES (%s, %s, %s, %s, %s::uuid, %s, %s)
    ON CONFLICT (table_name, vector_column, run_id, id) DO UPDATE
    SET source_md5 = EXCLUDED.source_md5,
        kind = EXCLUDED.kind,
        reason = EXCLUDED.reason,
        attempts = CASE WHEN known.source_md5 = EXCLUDED.source_md5 THEN known.attempts + 1 ELSE 1 END,
        last_at = now(),
        released_at = NULL
"""

# IS TRUE keeps md5 out of the join's keys; the planner would hash every text of the table for them.
SAME_TEXT = sql.SQL("(md5(t.{text})::uuid = known.source_md5) IS TRUE")

LIST = sql.SQL("""
    SELECT known.id,
           known.run_id,
           CASE
               WHEN t.{id} IS NULL THEN 'gone'
               WHEN known.run_id <> {run_id} THEN 'other run'
               WHEN NOT {same_text} THEN 'changed'
               WHEN known.released_at IS NOT NULL THEN 'released'
               ELSE 'failed'
           END,
           known.reason,
           known.attempts,
           to_json(date_trunc('second', known.first_at)) #>> '{{}}',
           to_json(date_trunc('second', known.last_at)) #>> '{{}}'
    FROM (
        SELECT *
        FROM public.embedding_failures
        WHERE table_name = {table_name}
          AND vector_column = {vector_name}
          AND kind = 'failed'
          AND {after}
        ORDER BY run_id, id
        LIMIT {rows}
    ) AS known
    LEFT JOIN {table} AS t ON t.{id} = {key}
    ORDER BY known.run_id, known.id
""")

RELEASE = sql.SQL("""
    UPDATE public.embedding_failures AS known
    SET released_at = clock_timestamp()
    FROM {table} AS t
    WHERE known.table_name = {table_name}
      AND known.vector_column = {vector_name}
      AND known.run_id = {run_id}
      AND known.kind = 'failed'
      AND known.released_at IS NULL
      AND {chosen}
      AND t.{id} = {key}
      AND {same_text}
    RETURNING known.id
""")

# By ctid: a record that another run has renewed meanwhile is another version, and stays. `t` is the record's id in the
# type and collation of the table's, so that the range means the same rows as everywhere.
FORGET = sql.SQL("""
    DELETE FROM public.embedding_failures AS old
    USING (
        SELECT known.ctid, {key} AS {id}
        FROM public.embedding_failures AS known
        WHERE known.table_name = {table_name}
          AND known.vector_column = {vector_name}
          AND known.run_id = {run_id}
    ) AS t
    LEFT JOIN {table} AS present ON present.{id} = t.{id}
    WHERE old.ctid = t.ctid
      AND {in_range}
      AND (present.{id} IS NULL
           OR (present.{vector} IS NOT NULL
               AND present.{run} = {run_id}
               AND present.{digest} = md5(present.{text})::uuid))
""")

COLLATION = """
    SELECT n.nspname, c.collname
    FROM pg_attribute AS a
    JOIN pg_collation AS c ON c.oid = a.attcollation
    JOIN pg_namespace AS n ON n.oid = c.collnamespace
    WHERE a.attrelid = %s::regclass
      AND a.attname = %s
"""

FailureState = Literal["failed", "released", "changed", "gone", "other run"]


class NotQuarantined(SteamAssetsError):
    """A row was to be tried again that no run has given up."""


@dataclass(frozen=True)
class FailedRow:
    """A record of a row that could not be embedded; times in ISO 8601.

    Only ``failed`` counts: a ``released`` row is tried by the next run, as is one whose text ``changed``; ``gone`` rows
    are deleted, and those of an ``other run`` failed with a recipe that is not the column's any more.
    """

    column: str
    id: str
    run_id: int
    state: FailureState
    reason: str | None
    attempts: int
    first_at: str
    last_at: str


def record_unembeddable(conn: connection, column: TextColumn, run_id: int, rows: Sequence[UnembeddableRow]) -> None:
    """Remember rows that get no vector, with the reason, for their present text and this run. Does not commit."""
    with conn.cursor() as cur:
        for row in rows:
            kind = "empty" if row.reason is None else "failed"
            key = (column.qualified_table, column.vector, run_id, str(row.id), row.source_md5.hex())
            cur.execute(RECORD_UNEMBEDDABLE, (*key, kind, row.reason))


def list_failures(conn: connection, column: TextColumn, run_id: int) -> Iterator[FailedRow]:
    """Every record of a row that failed, and whether it counts for ``run_id``, a short statement for each page.

    The connection should be in autocommit: nothing then holds back VACUUM while somebody reads a million of them.
    """
    wanted = {
        **names(column),
        "key": _key(conn, column),
        "same_text": SAME_TEXT.format(**names(column)),
        "run_id": sql.Literal(run_id),
        "rows": sql.Literal(PAGE_ROWS),
    }
    after: sql.Composable = sql.SQL("true")
    while True:
        with conn.cursor() as cur:
            cur.execute(LIST.format(**wanted, after=after))
            page = [FailedRow(str(column), *row) for row in cur.fetchall()]
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = sql.SQL("(run_id, id) > ({}, {})").format(sql.Literal(page[-1].run_id), sql.Literal(page[-1].id))


def release(
    conn: connection, targets: Mapping[TextColumn, int], ids: Sequence[str] | None = None
) -> dict[TextColumn, int]:
    """Have the next run of each column's target try failed rows again, all or those of ``ids``; return how many.

    Attempts go on being counted. Raises NotQuarantined when one of ``ids`` failed in none of the columns; then, as on
    any error, the caller rolls back. Does not commit.
    """
    released = {column: _release(conn, column, run_id, ids) for column, run_id in targets.items()}
    if unknown := [id_ for id_ in ids or () if not any(id_ in found for found in released.values())]:
        raise NotQuarantined(
            f"Not quarantined in {', '.join(map(str, targets))}: {', '.join(map(repr, unknown))}. "
            "Nothing was released. `steam-assets failures` lists the rows that are."
        )
    return {column: len(found) for column, found in released.items()}


def forget_embedded(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> int:
    """Delete records of a range whose row has its vector now, or is gone; return how many. Does not commit."""
    statement = FORGET.format(
        **names(column), key=_key(conn, column), run_id=sql.Literal(run_id), in_range=in_range(column, id_range)
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        return int(cur.rowcount)


def _release(conn: connection, column: TextColumn, run_id: int, ids: Sequence[str] | None) -> set[str]:
    storable = [id_ for id_ in ids or () if _is_storable(id_)]
    statement = RELEASE.format(
        **names(column),
        key=_key(conn, column),
        run_id=sql.Literal(run_id),
        chosen=sql.SQL("true") if ids is None else sql.SQL("known.id = ANY ({}::text[])").format(sql.Literal(storable)),
        same_text=SAME_TEXT.format(**names(column)),
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        return {id_ for (id_,) in cur.fetchall()}


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: no NUL, and no bytes of the command line that are not UTF-8."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _key(conn: connection, column: TextColumn) -> sql.Composable:
    """The id of the record ``known`` as the table compares its own, so that the table's index finds the row."""
    if column.id_type == "bigint":
        # A table of that name may have had ids of text once.
        return sql.SQL(r"CASE WHEN known.id ~ '^-?\d{1,19}$' THEN known.id::bigint END")
    with conn.cursor() as cur:
        cur.execute(COLLATION, (sql.Identifier(column.schema, column.table).as_string(cur), column.id))
        found = cur.fetchone()
    assert found is not None
    return sql.SQL("known.id COLLATE {}").format(sql.Identifier(*found))
