"""The rows of a map as they were at one moment: read from one run, with fewer numbers for each vector."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.preparation import find_preparation
from steam_assets.errors import SteamAssetsError
from steam_assets.pictures.layout import FEWEST_ROWS
from steam_assets.pictures.reduction import FIT_ROWS, Reduction, fit_reduction
from steam_assets.progress import now_and_then
from steam_assets.store.map_rows import MapPage, MapRows, count_map_rows, find_labels, read_map_pages, read_map_texts
from steam_assets.targets import run_to_search

MOST_ROWS = 250_000


@dataclass(frozen=True)
class Points:
    """Rows with vectors of one run, in the table's order.

    ``group_noun`` is what a group is called, None where the rows have none; ``texts`` are the starts of some rows'
    texts, by the row's place. ``left_out`` rows have text but no vector of the run, ``not_sampled`` have one and are
    not here. ``kept`` is the share of the vectors' length that is left in ``vectors``, 0 to 1; the column ``serves``
    when searches read it.
    """

    column: TextColumn
    model_name: str
    run_id: int
    serves: bool
    ids: list[str]
    names: list[str]
    groups: list[tuple[str, ...]]
    group_noun: str | None
    vectors: NDArray[np.float32]
    texts: dict[int, str]
    left_out: int
    not_sampled: int
    kept: float

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.names) == len(self.groups) == len(self.vectors):
            raise AssertionError(f"{self.column}: ids, names, groups and vectors are not of the same rows")

    def __len__(self) -> int:
        return len(self.ids)


def read_points(
    connect: Callable[[], connection], column: TextColumn, sample: int | None, say: Callable[[str], None]
) -> Points:
    """The rows of the run that searches of the column read, at most ``sample`` of them, and at most MOST_ROWS.

    All is read in one snapshot. Raises SteamAssetsError when fewer than three rows have a vector.
    """
    if sample is not None and sample < FEWEST_ROWS:
        raise SteamAssetsError(f"A map needs at least {FEWEST_ROWS} rows; a sample of {sample} was asked for.")
    with closing(connect()) as conn:
        conn.set_session(isolation_level="REPEATABLE READ", readonly=True)
        found = run_to_search(conn, column)
        run = found.run
        counts = count_map_rows(conn, column, run.run_id)
        _check_enough(column, run.run_id, counts.embedded)
        wanted = min(sample or MOST_ROWS, MOST_ROWS, counts.embedded)
        rows = MapRows(column, run.run_id, run.dimension, find_labels(conn, column))
        fitted = min(FIT_ROWS, wanted)
        say(f"{column}: reading {wanted:,} vectors of run {run.run_id} ({run.model_name})")
        to_fit = [page.vectors for page in read_map_pages(conn, rows, fitted)]
        _check_enough(column, run.run_id, sum(map(len, to_fit)))
        reduction = fit_reduction(np.concatenate(to_fit))
        pages = list(_reduced(read_map_pages(conn, rows, wanted), reduction, wanted, say))
        texts = read_map_texts(conn, rows, fitted)
    ids = [id_ for page in pages for id_ in page.ids]
    prepare = find_preparation(column.preparation).prepare
    return Points(
        column=column,
        model_name=run.model_name,
        run_id=run.run_id,
        serves=found.notice is None,
        ids=ids,
        names=[name for page in pages for name in page.names],
        groups=[groups for page in pages for groups in page.groups],
        group_noun=rows.labels.noun,
        vectors=np.concatenate([page.vectors for page in pages]),
        texts={row: prepare(texts[id_]) for row, id_ in enumerate(ids) if id_ in texts},
        left_out=counts.left_out,
        not_sampled=counts.embedded - len(ids),
        kept=reduction.kept,
    )


def _reduced(
    pages: Iterator[MapPage], reduction: Reduction, wanted: int, say: Callable[[str], None]
) -> Iterator[MapPage]:
    """The pages with fewer numbers for each vector: 200 MB for a quarter of a million rows, not 1 GB."""
    done, say = 0, now_and_then(say)
    for page in pages:
        yield replace(page, vectors=reduction.apply(page.vectors))
        done += len(page.ids)
        say(f"{done:,} of {wanted:,} vectors read")


def _check_enough(column: TextColumn, run_id: int, rows: int) -> None:
    if rows < FEWEST_ROWS:
        raise SteamAssetsError(
            f"{column} has {rows} rows with a vector of run {run_id}; a map needs at least {FEWEST_ROWS}. "
            f"Run `steam-assets embed {column}`."
        )
