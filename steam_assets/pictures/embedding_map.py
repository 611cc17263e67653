"""A map of a column: its rows, their places, clusters and colours. Drawn by map_png.py and html.py."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.pictures.clusters import find_clusters
from steam_assets.pictures.groups import Groups, choose_groups
from steam_assets.pictures.layout import Layout, Method, lay_out
from steam_assets.pictures.points import Points, read_points
from steam_assets.pictures.progress_lines import said_meanwhile
from steam_assets.pictures.words import cluster_names


@dataclass(frozen=True)
class EmbeddingMap:
    """Points with their layout, and two ways to colour them: by the groups that the rows have, and by clusters."""

    points: Points
    layout: Layout
    clusters: Groups
    groups: Groups | None

    @property
    def title(self) -> str:
        """What is drawn."""
        return f"{self.points.column}: {len(self.points):,} rows"

    @property
    def subtitle(self) -> str:
        """How it was drawn, and what is not on it."""
        points = self.points
        return "; ".join(
            [
                f"{self.layout.method} of run {points.run_id} ({points.model_name})",
                *([f"{points.left_out:,} rows have no vector of it and are left out"] if points.left_out else []),
                *([f"a sample: {points.not_sampled:,} more rows have one"] if points.not_sampled else []),
                *([] if points.serves else [f"{points.column} serves no searches"]),
                *([self.layout.notice] if self.layout.notice else []),
            ]
        )

    def as_json(self) -> dict[str, object]:
        """What is on the map and what is not, ready for json.dumps."""
        points = self.points
        return {
            "column": str(points.column),
            "model_name": points.model_name,
            "run_id": points.run_id,
            "method": self.layout.method,
            "notice": self.layout.notice,
            "rows": len(points),
            "left_out": points.left_out,
            "not_sampled": points.not_sampled,
            "length_kept_percent": round(100 * points.kept, 1),
            "clusters": [{"name": name, "rows": rows} for name, rows in self.cluster_sizes()],
        }

    def cluster_sizes(self) -> list[tuple[str, int]]:
        """Rows of each cluster, the largest first."""
        return list(zip(self.clusters.names, self.clusters.sizes(), strict=False))

    def centre(self, cluster: int) -> NDArray[np.float32]:
        """Where the name of a cluster stands: the median of its rows' places."""
        return np.asarray(np.median(self.layout.places[self.clusters.of_row == cluster], axis=0), dtype=np.float32)


def make_map(
    connect: Callable[[], connection],
    column: TextColumn,
    say: Callable[[str], None],
    sample: int | None = None,
    method: Method = "auto",
) -> EmbeddingMap:
    """Read the column's vectors and lay them out; ``say`` hears how it goes, every ten seconds at least."""
    points = read_points(connect, column, sample, say)
    with said_meanwhile(say, f"Laying out {len(points):,} rows"):
        layout = lay_out(points.vectors, method)
    with said_meanwhile(say, f"Clusters of {len(points):,} rows"):
        of_row = find_clusters(points.vectors)
    rows = sorted(points.texts)
    names = cluster_names(
        [points.texts[row] for row in rows], [int(of_row[row]) for row in rows], int(of_row.max()) + 1
    )
    groups = choose_groups(points.groups) if any(points.groups) else None
    return EmbeddingMap(points, layout, Groups(tuple(names), of_row), groups)
