"""How long a map of so many rows takes: places by UMAP and by PCA, clusters, the page and the picture.

`python -m steam_assets_tests.benchmarks.embedding_maps --json maps.json`

Vectors are made up, of the effective rank that real ones have (synthetic.py), and brought to fewer numbers as a map's
are; reading them from the database is not in it. The predecessor draws no maps.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from steam_assets.encoder.memory import peak_memory_bytes
from steam_assets.pictures.clusters import find_clusters
from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.pictures.groups import Groups, choose_groups
from steam_assets.pictures.html import map_html
from steam_assets.pictures.layout import lay_out
from steam_assets.pictures.map_png import map_png
from steam_assets.pictures.reduction import FIT_ROWS, fit_reduction
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.synthetic import PAGE_ROWS, Floats, Mixture
from steam_assets_tests.maps import made_up_points

MODULE = "steam_assets_tests.benchmarks.embedding_maps"
SIZES = (5_000, 50_000, 250_000)
DIMENSION, RANK = 1024, 194.0
FIRST = 5_000
"""Rows of a first map that is not timed: numba compiles UMAP then, and below 4,096 rows less of it."""

T = TypeVar("T")


@dataclass(frozen=True)
class MapRow:
    """Seconds of each part of a map, the size of its page, and the most memory of the process so far."""

    name: str
    rows: int
    umap_s: float
    pca_s: float
    clusters_s: float
    page_s: float
    picture_s: float
    page_bytes: int
    peak_bytes: int
    ratio_to_predecessor: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw maps of these sizes, the smallest first; print the table, write the JSON."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="of each map")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)

    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    _, first_s = timed(lambda: lay_out(vectors_of(FIRST), "umap"))
    found = [measure(rows) for rows in sorted(options.rows)]
    cells = [
        (
            f"{row.rows:,}",
            *(f"{seconds:,.1f}" for seconds in (row.umap_s, row.pca_s, row.clusters_s, row.page_s, row.picture_s)),
            f"{row.page_bytes / 1e6:.1f}",
            f"{row.peak_bytes / 1e9:.1f}",
        )
        for row in found
    ]
    header = ("rows", "UMAP s", "PCA s", "clusters s", "page s", "picture s", "page MB", "peak GB")
    print(f"\n{markdown_table(header, cells, left=0)}")
    print(f"\nThe first of {FIRST:,} rows, for which numba compiles UMAP: {first_s:.1f} s.")
    if options.json is not None:
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", found, {"first_s": first_s})


def measure(rows: int) -> MapRow:
    """A map of so many rows."""
    vectors = vectors_of(rows)
    by_umap, umap_s = timed(lambda: lay_out(vectors, "umap"))
    _, pca_s = timed(lambda: lay_out(vectors, "pca"))
    of_row, clusters_s = timed(lambda: find_clusters(vectors))
    points = replace(made_up_points(rows), vectors=vectors)
    names = tuple(f"cluster {n}" for n in range(int(of_row.max()) + 1))
    drawn = EmbeddingMap(points, by_umap, Groups(names, of_row), choose_groups(points.groups))
    page, page_s = timed(lambda: map_html(drawn))
    _, picture_s = timed(lambda: map_png(drawn))
    print(f"{rows:,} rows drawn", file=sys.stderr, flush=True)
    times = (umap_s, pca_s, clusters_s, page_s, picture_s)
    return MapRow("ours", rows, *times, page_bytes=len(page.encode()), peak_bytes=peak_memory_bytes("cpu"))


def vectors_of(rows: int) -> Floats:
    """Vectors as a map has them: (rows, numbers) along the directions of a sample."""
    mixture = Mixture(rows, DIMENSION, RANK)
    reduction = fit_reduction(np.concatenate(list(islice(mixture.pages(), FIT_ROWS // PAGE_ROWS))))
    return np.concatenate([reduction.apply(page) for page in mixture.pages()])


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and its seconds."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


if __name__ == "__main__":
    main()
