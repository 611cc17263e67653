"""Keep a small database of the present schema version beside this file, for the tests of upgrades from it.

    python -m steam_assets_tests.schema_versions.make [VERSION]

Run it, and commit what it wrote, before schema.sql changes and SCHEMA_VERSION is raised. Rows, runs and vectors are
made up; what the product writes itself is written by the product's own functions.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts, UnembeddableRow
from steam_assets.id_range import EVERYTHING
from steam_assets.initialise import initialise
from steam_assets.store import embedded
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import find_programs, server_account
from steam_assets.store.read import read_pending
from steam_assets.store.runs import column_runs, find_or_create_run, finish_range, set_target, start_range
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets.store.write import write_batches

MODEL = "all-MiniLM-L6-v2"
DIMENSION = 384
NUMBERS = 5
"""Of a vector are not zero, so that its text is short."""

Refused = Mapping[int | str, str | None]
REFUSED: Mapping[TextColumn, Refused] = {
    APPLICATIONS: {30: "longer than the model reads", 40: "out of memory alone", 100: None},
    REVIEWS: {"1259": "out of memory alone"},
}
"""By id, with the reason; without one the text was empty after preparation."""

ROWS = """
    INSERT INTO applications (appid, name_from_applist, name, type, short_description, about_the_game, created_at,
                              updated_at)
    SELECT 10 * n, 'Lantern Valley ' || n, 'Lantern Valley ' || n, 'game', 'Grow leeks, part ' || n || '.',
           '<p>A quiet farm by a <strong>river</strong>.</p>', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00'
    FROM generate_series(1, 8) AS n;
    INSERT INTO applications (appid, name, created_at, updated_at)
    VALUES (90, ' ', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00'),
           (100, '<br>', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
    INSERT INTO reviews (recommendationid, appid, language, review_text, voted_up, weighted_vote_score, created_at,
                         updated_at)
    SELECT (1000 + 37 * n)::text, 10 * n, 'english', 'Review ' || n || ': the leeks are good.', n % 2 = 0, 0.5,
           '2026-01-02 00:00:00+00', '2026-01-02 00:00:00+00'
    FROM generate_series(1, 8) AS n;
    INSERT INTO reviews (recommendationid, appid, review_text, created_at, updated_at)
    VALUES ('it''s 50%', 10, 'きれいな川', '2026-01-02 00:00:00+00', '2026-01-02 00:00:00+00'),
           ('~blank', 10, E' \\t ', '2026-01-02 00:00:00+00', '2026-01-02 00:00:00+00'),
           ('~null', 10, NULL, '2026-01-02 00:00:00+00', '2026-01-02 00:00:00+00');
    INSERT INTO genres (name) VALUES ('Farming');
    INSERT INTO categories (name) VALUES ('Single-player');
    INSERT INTO developers (name) VALUES ('Leek & Sons');
    INSERT INTO publishers (name) VALUES ('Leek & Sons');
    INSERT INTO platforms (name) VALUES ('linux');
    INSERT INTO application_genres VALUES (10, 1);
    INSERT INTO application_categories VALUES (10, 1);
    INSERT INTO application_developers VALUES (10, 1);
    INSERT INTO application_publishers VALUES (10, 1);
    INSERT INTO application_platforms VALUES (10, 1);
"""

# After the vectors were written: a text edited, one gone blank, a quarantined one mended, and rows that came later.
EDITS = """
    UPDATE applications SET short_description = 'Grow onions.' WHERE appid = 50;
    UPDATE applications SET short_description = 'Mended.' WHERE appid = 40;
    UPDATE reviews SET review_text = ' ' WHERE recommendationid = '1037';
    INSERT INTO applications (appid, name, created_at, updated_at)
    VALUES (110, 'Onion Hills', '2026-01-03 00:00:00+00', '2026-01-03 00:00:00+00');
    INSERT INTO reviews (recommendationid, appid, review_text, created_at, updated_at)
    VALUES ('9999', 10, 'Onions as well.', '2026-01-03 00:00:00+00', '2026-01-03 00:00:00+00');
"""

# What was built, measured and moved; columns follow from each other nowhere, so they are written as they are.
RECORDS = """
    INSERT INTO embedding_indexes (table_name, vector_column, variant, run_id, index_name, m, ef_construction,
                                   ef_search, recall, rows, bytes, seconds)
    SELECT 'reviews', 'review_embedding', 'halfvec', max(run_id), 'by_meaning', 16, 64, 40, 0.99, 8, 65536, 0.1
    FROM embedding_runs;
    INSERT INTO embedding_projections (table_name, vector_column, run_id, dimension, components, matrix, digest,
                                       rows_fitted, explained)
    SELECT 'reviews', 'review_embedding', max(run_id), 2, 1, '\\x0000803f00000000', 'a digest', 8, 0.9
    FROM embedding_runs;
    INSERT INTO embedding_variants (table_name, vector_column, run_id, variant, ef_search, rows, figures)
    SELECT 'reviews', 'review_embedding', max(run_id), 'halfvec', 40, 8, '{"recall_10": 0.99}'
    FROM embedding_runs;
    INSERT INTO embedding_evaluations (table_name, vector_column, run_id, query_set, query_set_digest, how, queries,
                                       metrics)
    SELECT 'reviews', 'review_embedding', max(run_id), 'known-items', 'a digest', 'exact', 8, '{"mrr@10": 0.9}'
    FROM embedding_runs;
    INSERT INTO embedding_promotions (table_name, from_vector_column, from_run_id, to_vector_column, to_run_id)
    SELECT 'reviews', 'review_embedding', min(run_id), 'review_embedding', max(run_id)
    FROM embedding_runs;
"""


def make(version: int, directory: Path) -> Path:
    """Write ``v<version>.sql`` to a directory: a database as this code makes it, with a row of every kind."""
    file = directory / f"v{version}.sql"
    with tempfile.TemporaryDirectory(prefix="steam_assets_tests-") as home:
        Path(home).chmod(0o711)
        server = embedded.start(Path(home) / "postgres")
        try:
            with closing(psycopg2.connect(server.dsn("postgres"))) as conn:
                fill(conn)
            file.write_text(dump(server))
        finally:
            embedded.leave(server.directory)
    return file


def fill(conn: connection) -> None:
    """A database with rows in every state and a record of every kind."""
    with conn:
        initialise(conn, COLUMNS, MODEL)
    with conn, conn.cursor() as cursor:
        cursor.execute(ROWS)
    for column, refused in REFUSED.items():
        target = column_runs(conn, column).target
        assert target is not None
        with conn:
            earlier = find_or_create_run(conn, "an earlier model", DIMENSION, True, {"revision": "1"})
            set_target(conn, column, earlier)
        write(conn, column, earlier, {}, limit=3)
        with conn:
            set_target(conn, column, target.run_id)
        write(conn, column, target.run_id, refused, skip=2)
        record_attempts(conn, column, target.run_id)
    with conn, conn.cursor() as cursor:
        cursor.execute(EDITS)
        cursor.execute("CREATE INDEX by_meaning ON reviews USING hnsw (review_embedding vector_cosine_ops)")
        cursor.execute(RECORDS)
    assert drop_for_bulk(conn, REVIEWS, "dagster-a:b").dropped


def write(
    conn: connection, column: TextColumn, run_id: int, refused: Refused, skip: int = 0, limit: int | None = None
) -> None:
    """Give pending rows but the first ``skip`` their vector, or its refusal."""
    for page in list(read_pending(conn, column, run_id, limit=limit)):
        conn.rollback()
        write_batches(conn, column, run_id, EVERYTHING, [encode(page, run_id, refused, skip)])


def encode(page: SourceTexts, run_id: int, refused: Refused, skip: int) -> EncodedBatch:
    """A page's vectors, made from run and text, without those that are refused."""
    rows = range(skip, len(page.ids))
    kept = [row for row in rows if page.ids[row] not in refused]
    return EncodedBatch(
        Embeddings(
            [page.ids[row] for row in kept],
            [page.row_versions[row] for row in kept],
            [page.source_md5[row] for row in kept],
            np.stack([vector(run_id, page.texts[row]) for row in kept]),
        ),
        [
            UnembeddableRow(page.ids[row], page.source_md5[row], refused[page.ids[row]])
            for row in rows
            if page.ids[row] in refused
        ],
        tokens=len(kept),
    )


def vector(run_id: int, text: str) -> NDArray[np.float32]:
    """A unit vector of a few numbers that depend on run and text."""
    random = np.random.default_rng(list(hashlib.sha256(f"{run_id} {text}".encode()).digest()))
    made = np.zeros(DIMENSION, dtype=np.float32)
    made[random.choice(DIMENSION, NUMBERS, replace=False)] = random.normal(size=NUMBERS)
    return made / np.linalg.norm(made)


def record_attempts(conn: connection, column: TextColumn, run_id: int) -> None:
    """An attempt at a range for each way in which one ends, and one that has not ended."""

    def start(key: str) -> int:
        return start_range(conn, column, run_id, key, f"dagster-{key}", "cpu", "fp32", {"torch": "2.10.0"})

    with conn:
        start("a:b")
        finish_range(conn, start("~:a"), "done", rows_written=6, rows_failed=2, tokens=60, seconds=0.5, rows_per_s=12.0)
        finish_range(conn, start("b:c"), "failed", error="CUDA error: an illegal memory access was encountered")
        finish_range(conn, start("c:d"), "aborted", rows_written=1)
        finish_range(conn, start("d:~"), "lost")


def dump(server: EmbeddedServer) -> str:
    """The database as SQL that any client can run: no COPY, no words of psql."""
    done = subprocess.run(
        [
            str(find_programs(server_account(server.directory)) / "pg_dump"),
            *("--no-owner", "--no-privileges", "--no-comments", "--inserts", "--rows-per-insert=100"),
            server.dsn("postgres"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(
        line
        for line in done.stdout.splitlines(keepends=True)
        if line.strip() and not line.startswith(("--", "\\restrict", "\\unrestrict"))
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = int(sys.argv[1])
    else:
        # Versions 1 and 2, made from their checkouts, had no such constant.
        from steam_assets.store.schema_version import SCHEMA_VERSION as chosen  # noqa: N811
    print(make(chosen, Path(__file__).parent))  # noqa: T201
