"""Maps to look at: made-up rows around a few directions, without a database or in the table of applications."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.pictures.clusters import find_clusters
from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.pictures.groups import Groups, choose_groups
from steam_assets.pictures.layout import Layout, by_pca
from steam_assets.pictures.points import Points
from steam_assets.store.runs import column_runs
from steam_assets_tests.rows import execute

GENRES = (("Action", "Indie"), ("Action", "RPG"), ("Action", "Strategy"), ())
# As an encoder would: texts of one kind have neighbouring vectors.
FILL = """
    UPDATE applications AS a
    SET description_embedding = made.vector,
        embedding_run_id = %(run)s,
        description_embedding_source_md5 = md5(a.combined_text)::uuid
    FROM (
        SELECT appid,
               l2_normalize((
                   SELECT array_agg(1.0 / (1 + abs(n - 60 * (appid / 10 %% 6))) + 0.01 * (appid * n %% 7) ORDER BY n)
                   FROM generate_series(1, 384) AS n
               )::vector) AS vector
        FROM applications
    ) AS made
    WHERE made.appid = a.appid
      AND a.combined_text ~ '\\S'
"""


def blobs(rows: int, directions: int = 4, dimension: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors (rows, dimension) around a few directions, one after the other."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(directions, dimension))
    vectors = middles[np.arange(rows) % directions] + random.normal(scale=0.15, size=(rows, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def made_up_points(
    rows: int, names: Sequence[str] = (), column: TextColumn = APPLICATIONS, left_out: int = 0, serves: bool = True
) -> Points:
    """Rows that begin with ``names`` and go on as "Game 3"."""
    return Points(
        column=column,
        model_name="made-up",
        run_id=7,
        serves=serves,
        ids=[str(10 * row) for row in range(rows)],
        names=[names[row] if row < len(names) else f"Game {row}" for row in range(rows)],
        groups=[GENRES[row % len(GENRES)] for row in range(rows)],
        group_noun="genre",
        vectors=blobs(rows),
        texts={},
        left_out=left_out,
        not_sampled=0,
        kept=1.0,
    )


def made_up_map(
    rows: int, names: Sequence[str] = (), clusters: Sequence[str] = (), left_out: int = 0, serves: bool = True
) -> EmbeddingMap:
    """A map of such rows by PCA; its clusters are called ``clusters``, then "cluster 3"."""
    points = made_up_points(rows, names, left_out=left_out, serves=serves)
    of_row = find_clusters(points.vectors)
    called = [clusters[n] if n < len(clusters) else f"cluster {n + 1}" for n in range(int(of_row.max()) + 1)]
    layout = Layout(by_pca(points.vectors), "PCA")
    return EmbeddingMap(points, layout, Groups(tuple(called), of_row), choose_groups(points.groups))


def fill_applications(conn: connection) -> None:
    """Give the applications of the fixture ``tables`` vectors of their run without a model, and genres."""
    run = column_runs(conn, APPLICATIONS).serving
    conn.rollback()
    assert run is not None
    execute(conn, FILL, run=run.run_id)
    execute(conn, "INSERT INTO genres (id, name) VALUES (1, 'Action'), (2, 'RPG')")
    execute(conn, "INSERT INTO application_genres SELECT appid, 1 + appid / 10 % 2 FROM applications")
