"""The two shapes of table that writes are measured on, filled on the server; their texts are corpus.py's."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.embeddings import Ids, SourceTexts
from steam_assets.id_range import IdRange
from steam_assets.store.read import read_pending
from steam_assets.store.runs import find_or_create_run, set_target
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.states import names
from steam_assets_tests.benchmarks.corpus import Corpus, read_corpora
from steam_assets_tests.benchmarks.write_turn import Turn

LONG_TEXT_BYTES = 6_000
"""The mean of a store page that has its long description (research/postgres.md); PostgreSQL keeps it out of line."""
POOL_TEXTS = 1_000
"""Texts of a table; its rows take turns with them, each with its number behind it, so that no two are the same."""

REVIEW_ROWS = sql.SQL("""
    INSERT INTO public.applications (appid, name)
    SELECT 10 * n, 'Page ' || n
    FROM generate_series(0, 999) AS n;

    INSERT INTO public.reviews
        (recommendationid, appid, author_steamid, author_num_games_owned, author_num_reviews, author_playtime_forever,
         author_playtime_last_two_weeks, author_playtime_at_review, author_last_played, language, review_text,
         timestamp_created, timestamp_updated, voted_up, votes_up, votes_funny, weighted_vote_score, comment_count,
         steam_purchase, received_for_free, written_during_early_access)
    SELECT (20923 + 1511 * n)::text, 10 * (n % 1000), (76561197960265728 + n)::text, n % 900, n % 70, n % 60000,
           n % 600, n % 50000, 1700000000 + n, 'english', texts.body || ' ' || n,
           1600000000 + n, 1650000000 + n, n % 5 > 0, n % 40, n % 7, 0.52380955, n % 3,
           true, false, n % 11 = 0
    FROM generate_series(1, {rows}) AS n
    JOIN texts ON texts.place = n % {texts}
""")

APPLICATION_ROWS = sql.SQL("""
    INSERT INTO public.applications
        (appid, steam_appid, name_from_applist, name, type, is_free, release_date, required_age, metacritic_score,
         recommendations_total, header_image, background, short_description, about_the_game, supported_languages,
         price_overview, content_descriptors, achievements, ratings, fetched_at, supports_windows, supports_mac,
         supports_linux, initial_price, final_price, discount_percent, currency, achievement_count,
         mat_supports_windows, mat_initial_price, mat_final_price, mat_currency,
         mat_pc_os_min, mat_pc_processor_min, mat_pc_memory_min, mat_pc_graphics_min)
    SELECT 10 * n, 10 * n, 'Page ' || n, 'Page ' || n, 'game', n % 9 = 0, DATE '2015-01-01' + n % 3000, '0', n % 100,
           n % 5000, 'https://images.example/header/' || n, 'https://images.example/page/' || n,
           '', texts.body || ' ' || n, 'English, French, German',
           '{{"currency": "EUR", "final": 1999}}', '{{"ids": []}}', '{{"total": 12}}', '{{}}',
           now(), true, n % 2 = 0, n % 3 = 0, 1999, 1499, 25, 'EUR', 12,
           true, 1999, 1499, 'EUR', 'Windows 10', 'Two cores, 2.4 GHz', '8 GB RAM', 'Any with 2 GB'
    FROM generate_series(1, {rows}) AS n
    JOIN texts ON texts.place = n % {texts}
""")

# The predecessor's documents define this function for its tables' BEFORE UPDATE triggers (research/peers.md 4).
TRIGGER = sql.SQL("""
    CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at = now();
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER update_updated_at BEFORE UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()
""")

NO_TRIGGER = sql.SQL("DROP FUNCTION update_updated_at_column() CASCADE")


@dataclass(frozen=True)
class Shape:
    """A table's column and how its rows are made."""

    column: TextColumn
    insert: sql.SQL

    @property
    def name(self) -> str:
        """As in the table of results."""
        return self.column.table


SHAPES = {shape.name: shape for shape in (Shape(REVIEWS, REVIEW_ROWS), Shape(APPLICATIONS, APPLICATION_ROWS))}


def read_texts(shape: Shape, data: Path) -> Corpus:
    """Reviews as they are; store pages joined until each has LONG_TEXT_BYTES, since few of the real ones are long."""
    (corpus,) = read_corpora([shape.name], data=data)
    if shape.column is REVIEWS:
        return Corpus(corpus.name, corpus.source, corpus.stored[:POOL_TEXTS], corpus.preparation)
    joined = list(islice(_joined(corpus.stored), POOL_TEXTS))
    return Corpus(corpus.name, f"{corpus.source}, joined to {LONG_TEXT_BYTES:,} bytes", joined, corpus.preparation)


def _joined(texts: Sequence[str]) -> Iterator[str]:
    parts: list[str] = []
    for text in cycle(texts):
        parts.append(text)
        if sum(len(part.encode()) for part in parts) >= LONG_TEXT_BYTES:
            yield "\n".join(parts).encode()[:LONG_TEXT_BYTES].decode(errors="ignore")
            parts = []


@dataclass
class FreshRows:
    """A filled table that hands out rows nobody has written to yet, in the table's own order."""

    conn: connection
    column: TextColumn
    run_id: int
    ids: Ids
    taken: int = 0

    def take(self, vectors: NDArray[np.float32]) -> Turn:
        """A row for each vector, the next in the table's order, as ours reads them."""
        id_range = IdRange(self.ids[self.taken], self.ids[self.taken + len(vectors)])
        self.taken += len(vectors)
        with self.conn:
            source = SourceTexts.joined(list(read_pending(self.conn, self.column, self.run_id, id_range)))
        if len(source) != len(vectors):
            raise RuntimeError(f"{self.column}: {len(source)} rows are pending in {id_range}; expected {len(vectors)}.")
        return Turn(self.column, self.run_id, id_range, source, vectors)


def make_table(conn: connection, shape: Shape, rows: int, dimension: int, texts: Sequence[str]) -> FreshRows:
    """The shape's table as `init` makes it, with rows that have no vector yet; vacuumed and analysed."""
    apply_schema(conn, plan_schema(conn, [shape.column], dimension))
    with conn, conn.cursor() as cursor:
        run_id = find_or_create_run(conn, "made-up", dimension, True, {})
        set_target(conn, shape.column, run_id)
        cursor.execute("CREATE TEMP TABLE texts (place integer PRIMARY KEY, body text)")
        execute_values(cursor, "INSERT INTO texts VALUES %s", list(enumerate(texts)))
        # One row more: a range ends before a row that it does not have.
        cursor.execute(shape.insert.format(rows=sql.Literal(rows + 1), texts=sql.Literal(len(texts))))
        # What vacuums in the background takes part of what is measured, now in one way of writing, now in another.
        cursor.execute(
            sql.SQL("ALTER TABLE {table} SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)").format(
                **names(shape.column)
            )
        )
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("VACUUM ANALYZE {table}").format(**names(shape.column)))
        cursor.execute(sql.SQL("SELECT {id} FROM {table} ORDER BY {id}").format(**names(shape.column)))
        ids = [id_ for (id_,) in cursor]
    conn.autocommit = False
    return FreshRows(conn, shape.column, run_id, ids)


@contextmanager
def updated_at_trigger(conn: connection, column: TextColumn) -> Iterator[None]:
    """The predecessor's trigger on the column's table."""
    with conn, conn.cursor() as cursor:
        cursor.execute(TRIGGER.format(**names(column)))
    try:
        yield
    finally:
        with conn, conn.cursor() as cursor:
            cursor.execute(NO_TRIGGER)
