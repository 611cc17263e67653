"""Rows for a map of a column: ids, names, groups and vectors of one run, read page by page. Drawing is pictures/'s."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.catalog import find_table
from steam_assets.store.states import BLANK_TEXT, names
from steam_assets.store.vector_pages import sent_vectors

PAGE_ROWS = 2_000
"""8 MB of vectors of 1,024 numbers."""
NAME_CHARACTERS = 80
TEXT_CHARACTERS = 1_500

DRAWN = sql.SQL("t.{run} = {run_id} AND t.{vector} IS NOT NULL")

COUNT = sql.SQL("""
    SELECT count(*) FILTER (WHERE {drawn}),
           count(*) FILTER (WHERE ({drawn}) IS NOT TRUE AND NOT {blank_text})
    FROM {table} AS t
""")

# In the order of a hash: as good as random, and the same rows each time.
LAST_OF_SAMPLE = sql.SQL("""
    SELECT md5(t.{id}::text) COLLATE "C"
    FROM {table} AS t
    WHERE {drawn}
    ORDER BY 1
    OFFSET {rows} - 1
    LIMIT 1
""")
IN_SAMPLE = sql.SQL('md5(t.{id}::text) COLLATE "C" <= {last}')
EVERY_ROW = sql.SQL("true")

PAGE = sql.SQL("""
    SELECT t.{id}, {name}, {groups}, vector_send(t.{vector}::vector)
    FROM {table} AS t
    WHERE {drawn}
      AND vector_dims(t.{vector}::vector) = {dimension}
      AND {in_sample}
      AND {after}
    ORDER BY t.{id}
    LIMIT {rows}
""")

TEXTS = sql.SQL("""
    SELECT t.{id}::text, left(t.{text}, {characters})
    FROM {table} AS t
    WHERE {drawn}
      AND {in_sample}
    ORDER BY t.{id}
""")

START_OF_TEXT = sql.SQL("""
    btrim(regexp_replace(regexp_replace(left(t.{text}, 1000), '<[^>]*>', ' ', 'g'), '\\s+', ' ', 'g'))
""")
NAME = sql.SQL("left(coalesce(nullif(btrim(t.name::text), ''), {start_of_text}), {characters})")
GENRES = sql.SQL("""
    ARRAY(
        SELECT genre.name
        FROM public.application_genres AS has
        JOIN public.genres AS genre ON genre.id = has.genre_id
        WHERE has.appid = t.{id}
        ORDER BY genre.id
    )
""")
LANGUAGE = sql.SQL("array_remove(ARRAY[t.language::text], NULL)")
NO_GROUPS = sql.SQL("ARRAY[]::text[]")

HAS_GENRES = "SELECT to_regclass('public.application_genres') IS NOT NULL AND to_regclass('public.genres') IS NOT NULL"


@dataclass(frozen=True)
class MapCounts:
    """Rows with a vector of the run, and rows with text but without one."""

    embedded: int
    left_out: int


@dataclass(frozen=True)
class MapPage:
    """Some rows in the table's order: ids, what people call them, the groups each is in, and float32 vectors."""

    ids: list[str]
    names: list[str]
    groups: list[tuple[str, ...]]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Labels:
    """Where a table's rows have their names and groups; ``noun`` is what one of its groups is called, if it has any."""

    name: sql.Composable
    groups: sql.Composable
    noun: str | None


@dataclass(frozen=True)
class MapRows:
    """The rows of a column with vectors of one run, of so many numbers each."""

    column: TextColumn
    run_id: int
    dimension: int
    labels: Labels


def count_map_rows(conn: connection, column: TextColumn, run_id: int) -> MapCounts:
    """How many rows a map of the run could draw, and how many it could not."""
    blank_text = BLANK_TEXT.format(**names(column))
    with conn.cursor() as cur:
        cur.execute(COUNT.format(**names(column), drawn=_drawn(column, run_id), blank_text=blank_text))
        return MapCounts(*(cur.fetchone() or (0, 0)))


def find_labels(conn: connection, column: TextColumn) -> Labels:
    """A table's column ``name`` or the start of the text; the genres of applications, or its column ``language``."""
    table = find_table(conn, column.schema, column.table)
    columns = {} if table is None else table.columns
    start_of_text = START_OF_TEXT.format(**names(column))
    characters = sql.Literal(NAME_CHARACTERS)
    if "name" in columns:
        name = NAME.format(start_of_text=start_of_text, characters=characters)
    else:
        name = sql.SQL("left({}, {})").format(start_of_text, characters)
    if column.qualified_table == "applications" and column.id_type == "bigint" and _has_genres(conn):
        return Labels(name, GENRES.format(**names(column)), "genre")
    if "language" in columns:
        return Labels(name, LANGUAGE, "language")
    return Labels(name, NO_GROUPS, None)


def read_map_pages(conn: connection, rows: MapRows, sample: int) -> Iterator[MapPage]:
    """The rows, a statement for each page; where there are more than ``sample``, those whose ids hash lowest.

    Vectors of another length, which a column without a declared dimension can hold, are passed over.
    """
    after: sql.Composable = EVERY_ROW
    in_sample = _in_sample(conn, rows, sample)
    while True:
        statement = PAGE.format(
            **names(rows.column),
            name=rows.labels.name,
            groups=rows.labels.groups,
            drawn=_drawn(rows.column, rows.run_id),
            dimension=sql.Literal(rows.dimension),
            in_sample=in_sample,
            after=after,
            rows=sql.Literal(PAGE_ROWS),
        )
        with conn.cursor() as cur:
            cur.execute(statement)
            page = cur.fetchall()
        if not page:
            return
        ids, found_names, groups, vectors = zip(*page, strict=True)
        yield MapPage(
            [str(id_) for id_ in ids],
            [name or "" for name in found_names],
            [tuple(found) for found in groups],
            sent_vectors(vectors, rows.dimension),
        )
        after = sql.SQL("t.{} > {}").format(sql.Identifier(rows.column.id), sql.Literal(ids[-1]))


def read_map_texts(conn: connection, rows: MapRows, sample: int) -> dict[str, str]:
    """The starts of the texts of a sample, by id."""
    statement = TEXTS.format(
        **names(rows.column),
        drawn=_drawn(rows.column, rows.run_id),
        in_sample=_in_sample(conn, rows, sample),
        characters=sql.Literal(TEXT_CHARACTERS),
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        return {id_: text or "" for id_, text in cur.fetchall()}


def _drawn(column: TextColumn, run_id: int) -> sql.Composed:
    return DRAWN.format(**names(column), run_id=sql.Literal(run_id))


def _in_sample(conn: connection, rows: MapRows, sample: int) -> sql.Composable:
    drawn = _drawn(rows.column, rows.run_id)
    with conn.cursor() as cur:
        cur.execute(LAST_OF_SAMPLE.format(**names(rows.column), drawn=drawn, rows=sql.Literal(sample)))
        last = cur.fetchone()
    return EVERY_ROW if last is None else IN_SAMPLE.format(**names(rows.column), last=sql.Literal(last[0]))


def _has_genres(conn: connection) -> bool:
    with conn.cursor() as cur:
        cur.execute(HAS_GENRES)
        return cur.fetchone() == (True,)
