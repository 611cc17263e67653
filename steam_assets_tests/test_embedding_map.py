"""A map says what is on it, what is not, and how it was made."""

from dataclasses import replace

import numpy as np
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.pictures.embedding_map import make_map
from steam_assets.pictures.layout import Layout
from steam_assets_tests.maps import made_up_map
from steam_assets_tests.rows import Connect, add_rows, embed, target_of


def test_a_column_becomes_a_map_with_named_clusters(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """From the table to places, clusters and their names, without a word of SQL by the caller."""
    add_rows(conn, numbered, {n: f"farm number {'abc'[n % 3] * 4}" for n in range(1, 31)})
    embed(conn, numbered)
    said: list[str] = []
    drawn = make_map(connect, numbered, said.append, method="pca")

    assert len(drawn.layout.places) == len(drawn.clusters.of_row) == len(drawn.points) == 30
    assert {"aaaa", "bbbb", "cccc"} >= {word for name in drawn.clusters.names for word in name.split(" · ")}
    assert drawn.groups is None
    assert said == [f"numbered.body_vector: reading 30 vectors of run {target_of(conn, numbered)} (made-up)"]


def test_what_is_not_on_the_map_is_said_on_it() -> None:
    """Rows without a vector, rows outside the sample, a column that serves nothing, and a makeshift layout."""
    drawn = made_up_map(20)
    assert drawn.title == "applications.description_embedding: 20 rows"
    assert drawn.subtitle == "PCA of run 7 (made-up)"

    short = replace(
        drawn,
        points=replace(drawn.points, left_out=1_234, not_sampled=56, serves=False),
        layout=Layout(drawn.layout.places, "PCA", "umap is missing"),
    )
    assert short.subtitle == (
        "PCA of run 7 (made-up); 1,234 rows have no vector of it and are left out; a sample: 56 more rows have one; "
        "applications.description_embedding serves no searches; umap is missing"
    )
    assert short.as_json()["left_out"] == 1_234


def test_a_cluster_s_name_stands_where_most_of_it_lies() -> None:
    """One stray row does not pull it away."""
    drawn = made_up_map(40)
    places = np.zeros((40, 2), dtype=np.float32)
    places[np.flatnonzero(drawn.clusters.of_row == 0)[0]] = 1_000
    np.testing.assert_array_equal(replace(drawn, layout=Layout(places, "PCA")).centre(0), [0, 0])


def test_every_row_is_counted_in_one_cluster() -> None:
    """The sizes in the legend add up to the map."""
    assert sum(rows for _, rows in made_up_map(57).cluster_sizes()) == 57
