"""Every variant of an index on a copy of a column: recall, size, seconds, latency, queries/s. Timing is timing.py's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.neighbours import Neighbours, exact_neighbours
from steam_assets.indexes.pca import fit_projection
from steam_assets.indexes.recall import RECALL
from steam_assets.indexes.timing import LIMIT_S, Asked, ask, queries_per_s
from steam_assets.store.hnsw_size import settings_for
from steam_assets.store.measured_copy import MeasuredCopy, MeasuredIndex, measured_copy, measured_index
from steam_assets.store.projections import Fitted
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.variant_records import (
    EXACT,
    Measurement,
    VariantFigures,
    latest_measurement,
    record_measurement,
)
from steam_assets.store.variants import VARIANTS, Variant, nearest_exactly, nearest_through
from steam_assets.store.vector_pages import count_vectors, sample_of_vectors, vector_pages
from steam_assets.targets import run_to_search

EF_SEARCH = (20, 40, 64, 100, 200, 400, 800)
QUERIES = 200
"""Rows of the column that are held out of the copy: recall@10 is of 2,000 places then, 0.01 of it 20 of them."""
CLIENTS = 8
FEWEST_ROWS = 20
SAMPLE_ROWS = 100_000
"""Five indexes of so many rows of 1,024 numbers take some ten minutes to build on two cores."""


@dataclass(frozen=True)
class MeasureOptions:
    """How much to measure: rows of the column (None is all), and the recall@10 above which ef_search grows no more.

    ``m`` and ``ef_construction`` are those that an index of so many rows gets, where nothing is said.
    """

    sample: int | None = SAMPLE_ROWS
    recall: float = RECALL
    queries: int = QUERIES
    variants: Sequence[Variant] = VARIANTS
    ef_search: Sequence[int] = EF_SEARCH
    m: int | None = None
    ef_construction: int | None = None
    limit_s: float = LIMIT_S


def measure_column(
    connect: Callable[[], connection],
    column: TextColumn,
    options: MeasureOptions,
    tell: Callable[[str], None] = lambda _: None,
    dagster_run_id: str | None = None,
) -> Measurement:
    """Measure every variant on the run that a search of the column would read, and keep the figures in the database."""
    with closing(connect()) as conn:
        run = run_to_search(conn, column).run
        conn.rollback()
        figures = list(measure_variants(connect, column, run, options, tell))
        with conn:
            record_measurement(conn, column, run.run_id, figures, dagster_run_id)
        with conn:
            measured = latest_measurement(conn, column, run.run_id)
    assert measured is not None
    return measured


def measure_variants(
    connect: Callable[[], connection],
    column: TextColumn,
    run: EmbeddingRun,
    options: MeasureOptions,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[VariantFigures]:
    """Figures of comparing every row, then of each variant at a growing ef_search; its own indexes are not touched.

    Raises SteamAssetsError for a column with fewer vectors than FEWEST_ROWS.
    """
    with open_bench(connect, column, run, options, tell) as bench:
        yield bench.exactly()
        for variant in options.variants:
            if variant.indexed_dimension(run.dimension) <= variant.max_dimension:
                yield from measure_variant(bench, variant, options, tell)


@contextmanager
def open_bench(
    connect: Callable[[], connection],
    column: TextColumn,
    run: EmbeddingRun,
    options: MeasureOptions,
    tell: Callable[[str], None],
) -> Iterator["Bench"]:
    """A copy of a run's vectors, with queries held out of it and their nearest rows; dropped at the end."""
    with closing(connect()) as conn:
        conn.autocommit = True
        rows = count_vectors(conn, column, run.run_id)
        if rows < FEWEST_ROWS:
            raise SteamAssetsError(
                f"{column} has {rows} vectors of run {run.run_id}; expected at least {FEWEST_ROWS} to measure an index "
                f"on. Next: `steam-assets embed {column}`."
            )
        queries = sample_of_vectors(conn, column, run.run_id, run.dimension, min(options.queries, rows // 10))
        share = 1.0 if options.sample is None else min(1.0, options.sample / rows)
        with measured_copy(conn, column, run.run_id, run.dimension, queries.ids, share) as copy:
            if share < 1 and copy.rows < FEWEST_ROWS:
                raise SteamAssetsError(
                    f"A sample of {options.sample:,} of the {rows:,} vectors of {column} came to {copy.rows}; expected "
                    f"at least {FEWEST_ROWS} to measure an index on. Ask for more; --sample 0 copies all."
                )
            tell(f"{column}: {copy.rows:,} of {rows:,} vectors copied; {len(queries.ids)} others are the queries.")
            nearest = neighbours_of(conn, copy, queries.vectors)
            yield Bench(conn, connect, copy, queries.vectors, nearest, options.limit_s)


def neighbours_of(conn: connection, copy: MeasuredCopy, queries: NDArray[np.float32]) -> Neighbours:
    """The nearest rows of the copy, by comparing every one."""
    pages = vector_pages(conn, copy.column, copy.run_id, copy.dimension)
    return exact_neighbours((page.vectors for page in pages), queries, min(100, copy.rows))


def measure_variant(
    bench: "Bench", variant: Variant, options: MeasureOptions, tell: Callable[[str], None]
) -> Iterator[VariantFigures]:
    """A variant's figures until its recall@10 is what is asked for, or there is no larger ef_search to try."""
    conn, copy = bench.conn, bench.copy
    settings = settings_for(conn, variant, copy.dimension, copy.rows, options.m, options.ef_construction)
    fitted = None
    if variant.projected:
        fitted = fit_projection(conn, copy.column, copy.run_id, copy.dimension, copy.rows)
    with measured_index(conn, copy, variant, settings, fitted) as index:
        tell(f"{variant.name}: {index.bytes / 1e6:,.1f} MB in {index.seconds:,.1f} s")
        for ef_search in sorted({index.at(ef_search).least_ef_search(10) for ef_search in options.ef_search}):
            found = bench.through(index, ef_search, fitted, settings.m, settings.ef_construction)
            tell(
                f"{variant.name}, ef_search {ef_search}: recall@10 {found.recall_10:.4f}, @100 {found.recall_100:.4f}, "
                f"p95 {found.ms_p95:.1f} ms, {found.queries_per_s_of_clients:,.0f} queries/s of {found.clients}"
            )
            yield found
            if found.recall_10 >= options.recall:
                return


@dataclass(frozen=True)
class Bench:
    """A copy, the queries that are asked of it, and their nearest rows; ``conn`` builds, others ask."""

    conn: connection
    connect: Callable[[], connection]
    copy: MeasuredCopy
    queries: NDArray[np.float32]
    nearest: Neighbours
    limit_s: float

    def exactly(self) -> VariantFigures:
        """Comparing every row, as a search without an index does."""
        tens = [self._exact(query, 10) for query in self.queries.tolist()]
        hundreds = [self._exact(query, 100) for query in self.queries.tolist()]
        return self._figures(EXACT, None, tens, hundreds)

    def through(
        self, index: MeasuredIndex, ef_search: int, fitted: Fitted | None, m: int, ef_construction: int
    ) -> VariantFigures:
        """Through an index, asked as a search asks it."""
        tens = [self._through(index, ef_search, query, 10, fitted) for query in self.queries.tolist()]
        hundreds = [self._through(index, ef_search, query, 100, fitted) for query in self.queries.tolist()]
        return self._figures(index.variant.name, ef_search, tens, hundreds, index, m, ef_construction)

    def _figures(
        self,
        name: str,
        ef_search: int | None,
        tens: Sequence[Asked],
        hundreds: Sequence[Asked],
        index: MeasuredIndex | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
    ) -> VariantFigures:
        with closing(self.connect()) as conn:
            conn.autocommit = True
            # The hundreds first: they bring what the timed ones need into memory.
            of_hundreds = ask(conn, hundreds, self.limit_s)
            of_tens = ask(conn, tens, self.limit_s)
        milliseconds = 1e3 * np.asarray(of_tens.seconds)
        return VariantFigures(
            variant=name,
            ef_search=ef_search,
            rows=self.copy.rows,
            dimension=self.copy.dimension,
            queries=len(of_tens.seconds),
            recall_10=self.nearest.recall(of_tens.cosines, 10),
            recall_100=self.nearest.recall(of_hundreds.cosines, 100),
            ms_p50=float(np.percentile(milliseconds, 50)),
            ms_p95=float(np.percentile(milliseconds, 95)),
            queries_per_s=1e3 / float(milliseconds.mean()),
            clients=CLIENTS,
            queries_per_s_of_clients=queries_per_s(self.connect, tens, CLIENTS, self.limit_s),
            bytes=0 if index is None else index.bytes,
            seconds=0.0 if index is None else index.seconds,
            m=m,
            ef_construction=ef_construction,
        )

    def _exact(self, query: Sequence[float], k: int) -> Asked:
        return Asked(nearest_exactly(self.copy.column, self.copy.run_id, query, k))

    def _through(
        self, index: MeasuredIndex, ef_search: int, query: Sequence[float], k: int, fitted: Fitted | None
    ) -> Asked:
        search_index = index.at(ef_search)
        projected = None if fitted is None else fitted.project(query)
        statement = nearest_through(
            search_index, self.copy.column, self.copy.run_id, query, k, projected_query=projected
        )
        return Asked(statement, search_index.least_ef_search(k))
