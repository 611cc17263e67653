"""Rows to embed: tables of notes with made-up vectors of 8 numbers, and reviews for a real model; a pytest plugin."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import psycopg2
import pytest
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts
from steam_assets.encoder.models import Model
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store import read
from steam_assets.store.read import read_pending
from steam_assets.store.runs import column_runs, find_or_create_run, set_serving, set_target
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.states import RangeState, range_state
from steam_assets.store.write import WriteCounts, write_batches
from steam_assets.targets import choose_first_model

Connect = Callable[[], connection]

DIMENSION = 8
PAGE_OF_REVIEWS = 4
ODD_IDS = (
    *("", " ", "a b", 'say "hi"', "it's", "50%", "10:20", "~", "a.b", "C:\\x", "\\N", "\\.", "\n", "{id}", "1", "22"),
    *("é", "日本語", "🎮", "Ä", "a", "A", "z", "Z", "x" * 2000, "ü" * 1000),
)
COLLATIONS = ("C", "pg_c_utf8", "pg_unicode_fast", "ucs_basic", "en_US.utf8", "de_DE.utf8", "und-x-icu")
NOTES = TextColumn(table="notes", id="id", text="body", vector="body_vector", id_type="text")
NUMBERED = TextColumn(table="numbered", id="id", text="body", vector="body_vector", id_type="bigint")

CREATE = sql.SQL("CREATE TABLE {table} ({id} {key} PRIMARY KEY, {text} text, likes integer DEFAULT 0)")


def make_table(conn: connection, column: TextColumn, key: str) -> None:
    """The column's table with an id of the type ``key``, its three columns and a run to fill it with; committed."""
    execute(
        conn,
        CREATE.format(
            table=sql.Identifier(column.schema, column.table),
            id=sql.Identifier(column.id),
            key=sql.SQL(key),
            text=sql.Identifier(column.text),
        ),
    )
    add_columns(conn, column)


def add_columns(conn: connection, column: TextColumn) -> int:
    """The column's vector, run and digest on a table that is there, and a run to fill and to serve; committed."""
    apply_schema(conn, plan_schema(conn, [column], DIMENSION))
    run_id = change_recipe(conn, column, "first")
    set_serving(conn, column, run_id)
    conn.commit()
    return run_id


def change_recipe(conn: connection, column: TextColumn, revision: str) -> int:
    """Fill the column with another run from now on."""
    run_id = find_or_create_run(conn, "made-up", DIMENSION, True, {"revision": revision})
    set_target(conn, column, run_id)
    conn.commit()
    return run_id


@pytest.fixture
def notes(conn: connection) -> TextColumn:
    """An empty table with a text key."""
    make_table(conn, NOTES, "text")
    return NOTES


@pytest.fixture
def numbered(conn: connection) -> TextColumn:
    """An empty table with a bigint key."""
    make_table(conn, NUMBERED, "bigint")
    return NUMBERED


def tables_in_all_collations(conn: connection) -> Iterator[TextColumn]:
    """An empty table with a text key for each of COLLATIONS that this server has; those of libc and ICU it may lack."""
    found = {name for (name,) in fetch(conn, "SELECT collname FROM pg_collation")}
    for collation in filter(found.__contains__, COLLATIONS):
        column = TextColumn(table=f"notes in {collation}", id="id", text="body", vector="v", id_type="text")
        make_table(conn, column, f'text COLLATE "{collation}"')
        yield column


@pytest.fixture
def other_conn(database_url: str) -> Iterator[connection]:
    """Somebody else's connection to the database, in autocommit."""
    opened = psycopg2.connect(database_url)
    opened.autocommit = True
    yield opened
    opened.close()


@pytest.fixture
def connect(database_url: str) -> Connect:
    """Connections to the test's database."""
    return lambda: psycopg2.connect(database_url)


@pytest.fixture
def reviews(conn: connection, minilm: Model, monkeypatch: pytest.MonkeyPatch) -> TextColumn:
    """48 reviews to be filled by MiniLM in small pages."""
    monkeypatch.setattr(read, "PAGE_ROWS", PAGE_OF_REVIEWS)
    add_reviews(conn, {f"r{n:03}": f"the farm, day {n}" for n in range(1, 49)})
    with conn:
        choose_first_model(conn, REVIEWS, minilm)
    return REVIEWS


def add_reviews(conn: connection, texts: Mapping[str, str | None]) -> None:
    """Insert reviews of one application by id."""
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'Lantern Valley') ON CONFLICT DO NOTHING")
    with conn, conn.cursor() as cur:
        insert = "INSERT INTO reviews (recommendationid, appid, review_text) VALUES %s"
        execute_values(cur, insert, [(id_, 1, text) for id_, text in texts.items()])


def execute(conn: connection, statement: str | sql.Composable, **values: object) -> None:
    """Run one statement and commit."""
    with conn, conn.cursor() as cur:
        cur.execute(statement, values or None)


def fetch(conn: connection, statement: str | sql.Composable, **values: object) -> list[tuple[object, ...]]:
    """All rows of a query; nothing is left open."""
    with conn, conn.cursor() as cur:
        cur.execute(statement, values or None)
        return cur.fetchall()


def add_rows(conn: connection, column: TextColumn, texts: Mapping[int, str | None] | Mapping[str, str | None]) -> None:
    """Insert texts by id."""
    rows = [sql.SQL("({}, {})").format(sql.Literal(id_), sql.Literal(text)) for id_, text in texts.items()]
    insert = sql.SQL("INSERT INTO {} ({}, {}) VALUES {}").format(
        sql.Identifier(column.schema, column.table),
        sql.Identifier(column.id),
        sql.Identifier(column.text),
        sql.SQL(", ").join(rows),
    )
    execute(conn, insert)


def set_text(conn: connection, column: TextColumn, id_: int | str, text: str | None) -> None:
    """Change one row's text."""
    update = sql.SQL("UPDATE {} SET {} = {} WHERE {} = {}").format(
        sql.Identifier(column.schema, column.table),
        sql.Identifier(column.text),
        sql.Literal(text),
        sql.Identifier(column.id),
        sql.Literal(id_),
    )
    execute(conn, update)


def target_of(conn: connection, column: TextColumn) -> int:
    """The run that the column is being filled with."""
    target = column_runs(conn, column).target
    conn.rollback()
    assert target is not None
    return target.run_id


def state_of(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> RangeState:
    """The states of the column's rows for its target run."""
    state = range_state(conn, column, target_of(conn, column), DIMENSION, id_range)
    conn.rollback()
    return state


def read_all(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> list[SourceTexts]:
    """Every pending page, read before anything is written."""
    pages = list(read_pending(conn, column, target_of(conn, column), id_range))
    conn.rollback()
    return pages


def ids_of(pages: Sequence[SourceTexts]) -> list[int | str]:
    """The ids of all pages in order."""
    return [id_ for page in pages for id_ in page.ids]


def vectors_of(digests: Sequence[bytes], dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Unit vectors that depend on the texts' digests alone."""
    made = [np.random.default_rng(int.from_bytes(digest)).normal(size=dimension) for digest in digests]
    vectors = np.array(made, dtype=np.float32).reshape(len(digests), dimension)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def encode(page: SourceTexts) -> EncodedBatch:
    """A page's vectors without a model."""
    return EncodedBatch(
        Embeddings(page.ids, page.row_versions, page.source_md5, vectors_of(page.source_md5)), tokens=len(page)
    )


def embed(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> WriteCounts:
    """Read, encode and write what is pending."""
    batches = [encode(page) for page in read_all(conn, column, id_range)]
    return write_batches(conn, column, target_of(conn, column), id_range, batches)


def write_all(conn: connection, column: TextColumn, batches: list[EncodedBatch]) -> WriteCounts:
    """Write batches over the whole table."""
    return write_batches(conn, column, target_of(conn, column), EVERYTHING, batches)


def table_digest(conn: connection, column: TextColumn) -> str:
    """One digest of every value in the table, vectors included."""
    ((digest,),) = fetch(
        conn,
        sql.SQL("SELECT md5(string_agg(t::text, E'\\n' ORDER BY t.{id})) FROM {table} AS t").format(
            id=sql.Identifier(column.id), table=sql.Identifier(column.schema, column.table)
        ),
    )
    return str(digest)
