"""Rows that hold the words of a query, by PostgreSQL's full text search; what hybrid searches add to vectors."""

from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.search import Neighbour
from steam_assets.store.states import estimated_rows, names
from steam_assets.store.variants import ALL_ROWS, vector_literal

INDEXED_CHARACTERS = 100_000
"""Of each text: PostgreSQL refuses to make a tsvector of more than 1 MB."""
WORDS_CHARACTERS = 1_000
"""Of a query: nobody asks for rows that hold a thousand words."""
RANKED_ROWS = 1_000
BY_LENGTH = 1
"""ts_rank_cd divides by the logarithm of the length then; without it long pages win by having everything."""
MANY_TEXTS = 5_000
"""Without an index each is read again for each search: 5,858 store pages took a second on two busy cores (2026-11)."""

# "simple": words as they are written, in any language. Steam's texts are in thirty, and names are not to be stemmed.
DOCUMENT = sql.SQL("to_tsvector('simple', left({text}, {characters}))")

# Every word must be there, unless the query says otherwise: "a phrase", this or that, -without. Rows of the run only,
# so that answers mix nothing. Where most rows hold the words, those nearest to the query are ranked: making tsvectors
# of all of them again is what takes time (12,485 reviews: 1.6 s, or 0.4 s). Plus 0: nobody's index gives this order.
BY_WORDS = sql.SQL("""
    WITH holding AS MATERIALIZED (
        SELECT t.{id} AS id,
               t.{text} AS text,
               words,
               t.{vector}::vector <=> {query} AS distance
        FROM {table} AS t,
             websearch_to_tsquery('simple', {words}) AS words
        WHERE {document} @@ words
          AND t.{run} = {run_id}
          AND t.{vector} IS NOT NULL
          AND {condition}
        ORDER BY (t.{vector}::vector <=> {query}) + 0, t.{id}
        LIMIT {ranked}
    )
    SELECT id::text, 1 - distance
    FROM holding
    ORDER BY ts_rank_cd({document_held}, words, {by_length}) DESC, id
    LIMIT {rows}
""")

HAS_INDEX = """
    SELECT EXISTS (
        SELECT
        FROM pg_index AS x
        JOIN pg_class AS i ON i.oid = x.indexrelid
        JOIN pg_am AS m ON m.oid = i.relam
        WHERE x.indrelid = %(table)s::regclass
          AND x.indisvalid
          AND x.indpred IS NULL
          AND m.amname IN ('gin', 'gist')
          AND strpos(pg_get_indexdef(x.indexrelid), 'to_tsvector(''simple''::regconfig, "left"(') > 0
          AND strpos(pg_get_indexdef(x.indexrelid), quote_ident(%(text)s)) > 0)
"""


def with_words(
    conn: connection,
    column: TextColumn,
    run_id: int,
    words: str,
    query: Sequence[float],
    rows: int,
    condition: sql.Composable = ALL_ROWS,
) -> list[Neighbour]:
    """Up to ``rows`` rows of a run that hold the words, the best match first, each with its cosine to ``query``.

    A script without blanks between words, such as Chinese, is one word up to the next blank or mark: such a query finds
    only texts that have it between marks.
    """
    statement = BY_WORDS.format(
        **names(column),
        query=vector_literal(query),
        words=sql.Literal(words[:WORDS_CHARACTERS].replace("\0", " ")),
        document=_document(sql.SQL("t.{}").format(sql.Identifier(column.text))),
        document_held=_document(sql.SQL("holding.text")),
        by_length=sql.Literal(BY_LENGTH),
        ranked=sql.Literal(RANKED_ROWS),
        run_id=sql.Literal(run_id),
        condition=condition,
        rows=sql.Literal(rows),
    )
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return [Neighbour(*row) for row in cursor.fetchall()]


def why_slow(conn: connection, column: TextColumn) -> str | None:
    """That every text is read for its words, and the index that changes it; None where there is one, or few texts."""
    if estimated_rows(conn, column) <= MANY_TEXTS:
        return None
    table = sql.Identifier(column.schema, column.table)
    with conn.cursor() as cursor:
        cursor.execute(HAS_INDEX, {"table": table.as_string(cursor), "text": column.text})
        (has_index,) = cursor.fetchone() or (False,)
        document = _document(sql.Identifier(column.text))
        create = sql.SQL("CREATE INDEX CONCURRENTLY ON {} USING gin ({})").format(table, document).as_string(cursor)
    return None if has_index else f"every text was read for the words; this index makes it quick: {create}"


def _document(text: sql.Composable) -> sql.Composed:
    return DOCUMENT.format(text=text, characters=sql.Literal(INDEXED_CHARACTERS))
