"""Tables of many short texts, made on the server in seconds; their pages are read in pagination.py."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.missing_index import create_index, index_name, missing
from steam_assets.store.runs import find_or_create_run, set_target
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.states import names

PAGES = TextColumn("pages", "id", "body", "embedding", id_type="text")
VECTOR = [1, 0, 0]
DIMENSION = len(VECTOR)

# Ids of five to nine digits, as those of reviews: as text they sort in another order than they were inserted in.
INSERT = sql.SQL("""
    INSERT INTO {table} ({id}, {text}, {vector}, {run}, {digest})
    SELECT made.id, made.body,
           CASE WHEN made.is_embedded THEN {value}::vector END,
           CASE WHEN made.is_embedded THEN {run_id} END,
           CASE WHEN made.is_embedded THEN md5(made.body)::uuid END
    FROM (
        SELECT (20923 + 151 * n)::text AS id,
               'Review ' || n || ': the leeks are good, and the river is quiet in the morning.' AS body,
               n % {every} <> 0 AS is_embedded
        FROM generate_series(1, {rows}) AS n
    ) AS made
""")

EMBED = sql.SQL("""
    UPDATE {table}
    SET {vector} = {value}::vector, {run} = {run_id}, {digest} = md5({text})::uuid
    WHERE {condition}
""")

NOT_EVERY = sql.SQL("{vector} IS NULL AND ({id}::bigint - 20923) / 151 % {every} <> 0")
ONE_OF = sql.SQL("{id} = ANY({ids})")


def make_pages(conn: connection, rows: int, every: int = 1) -> int:
    """The table ``pages`` anew, every so many rows pending and the others embedded; its run is returned."""
    with conn.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pages")
        cursor.execute("CREATE TABLE pages (id text PRIMARY KEY, body text) WITH (autovacuum_enabled = off)")
    conn.autocommit = False
    with conn:
        apply_schema(conn, plan_schema(conn, [PAGES], DIMENSION))
        run_id = find_or_create_run(conn, "made-up", DIMENSION, True, {})
        set_target(conn, PAGES, run_id)
    conn.autocommit = True
    sizes = {"every": sql.Literal(every), "rows": sql.Literal(rows)}
    with conn.cursor() as cursor:
        cursor.execute(INSERT.format(**_embedded(run_id), **sizes))
    vacuum(conn)
    return run_id


def embed_all_but(conn: connection, run_id: int, every: int) -> None:
    """Give a vector to all pending rows but every so many of the table's."""
    _embed(conn, run_id, NOT_EVERY.format(**names(PAGES), every=sql.Literal(every)))
    vacuum(conn)


def embed_these(conn: connection, run_id: int, ids: Sequence[str]) -> None:
    """Give a vector to these rows."""
    _embed(conn, run_id, ONE_OF.format(**names(PAGES), ids=sql.Literal(list(ids))))


def _embed(conn: connection, run_id: int, condition: sql.Composable) -> None:
    with conn.cursor() as cursor:
        cursor.execute(EMBED.format(**_embedded(run_id), condition=condition))


def _embedded(run_id: int) -> dict[str, sql.Composable]:
    return {**names(PAGES), "value": sql.Literal(str(VECTOR)), "run_id": sql.Literal(run_id)}


def vacuum(conn: connection) -> None:
    """Make of the table what it is after autovacuum has been there."""
    with conn.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE pages")


@contextmanager
def missing_index(conn: connection) -> Iterator[None]:
    """The product's partial index on rows without a vector."""
    with conn.cursor() as cursor:
        cursor.execute(create_index(conn, PAGES).sql)
        try:
            yield
        finally:
            cursor.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(PAGES.schema, index_name(PAGES))))


def count_missing(conn: connection) -> int:
    """Rows without a vector."""
    with conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT count(*) FROM {table} WHERE {missing}").format(**names(PAGES), missing=missing(PAGES))
        )
        ((found,),) = cursor.fetchall()
    return int(found)
