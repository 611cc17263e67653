"""A column's index from the first check to the measured recall; what Dagster and the command line call. No Dagster."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.build_progress import telling
from steam_assets.indexes.pca import drop_old_projections, ensure_projection
from steam_assets.indexes.ready import check_ready
from steam_assets.indexes.recall import MeasuredRecall, measure_recall, recall_asked
from steam_assets.store.hnsw import IndexRecord, index_records
from steam_assets.store.hnsw_build import BuildOptions, BuiltIndex, build_index
from steam_assets.store.hnsw_checks import check_buildable
from steam_assets.store.hnsw_lock import check_nobody_builds
from steam_assets.store.hnsw_records import record_recall
from steam_assets.store.limits import unlimited
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.variants import DEFAULT_VARIANT, SearchIndex, Variant, find_variant
from steam_assets.targets import target_run


@dataclass(frozen=True)
class Wanted:
    """An index that is asked for; what is None is as the column's index was when it was last built, or the default."""

    variant: str | None = None
    m: int | None = None
    ef_construction: int | None = None
    recall: float | None = None


@dataclass(frozen=True)
class IndexReport:
    """An index that was built and measured, which searches of its run go through from now on."""

    column: str
    model_name: str
    built: BuiltIndex
    measured: MeasuredRecall

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know of it, beyond its numbers."""
        if (other := self.measured.other_index) is None:
            return self.built.notices
        return (
            *self.built.notices,
            f"The server would go through {other} instead of {self.built.name}. Drop that index, or build another "
            "variant: what searches find is what it holds.",
        )


def build_measured_index(
    connect: Callable[[], connection],
    column: TextColumn,
    wanted: Wanted,
    log: Callable[[str], None],
    dagster_run_id: str | None = None,
) -> IndexReport:
    """Build the index of the column's target run, measure its recall, and record both.

    Raises ColumnNotReady, IndexImpossible or IndexBeingBuilt before anything begins.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        variant, options = resolve(conn, column, wanted)
        check_possible(conn, column, run, variant)
        with unlimited(conn):  # it reads every text
            check_ready(conn, column, run)
    asked = recall_asked(options.recall)
    projection = ensure_projection(connect, column, run.run_id, run.dimension, log) if variant.projected else None
    projection_id = None if projection is None else projection.projection_id
    built = build_index(
        *(connect, column, run.run_id, run.dimension, variant, options, telling(log)),
        dagster_run_id=dagster_run_id,
        projection_id=projection_id,
    )
    log(f"{built.name}: {built.rows:,} rows, {built.bytes / 1e6:,.1f} MB, {built.seconds:,.1f} s; now its recall.")
    index = SearchIndex(built.name, variant, 0, None if projection is None else projection.table)
    measured = measure_recall(connect, column, run.run_id, run.dimension, index, asked, projection)
    with closing(connect()) as conn, conn:
        record_recall(conn, column, variant, measured.chosen.ef_search, measured.chosen.recall, _details(measured))
    if variant.projected:
        drop_old_projections(connect, column)
    report = IndexReport(str(column), run.model_name, built, measured)
    for notice in report.notices:
        log(notice)
    return report


def resolve(conn: connection, column: TextColumn, wanted: Wanted) -> tuple[Variant, BuildOptions]:
    """The variant that is meant, by default the column's own that was chosen last, and how it was asked for before."""
    records = index_records(conn, column)
    name = wanted.variant or (records[0].variant if records else DEFAULT_VARIANT)
    before = next((options_of(record) for record in records if record.variant == name), BuildOptions())
    return find_variant(name), BuildOptions(
        wanted.m or before.m,
        wanted.ef_construction or before.ef_construction,
        before.recall if wanted.recall is None else wanted.recall,
    )


def options_of(record: IndexRecord) -> BuildOptions:
    """What was asked of an index when it was built."""
    asked = (record.details or {}).get("asked")
    return BuildOptions(**asked) if isinstance(asked, dict) else BuildOptions()


def check_possible(conn: connection, column: TextColumn, run: EmbeddingRun, variant: Variant) -> None:
    """Raise IndexImpossible or IndexBeingBuilt where the index cannot be built whatever the rows are like."""
    check_buildable(conn, column, variant, run.dimension)
    check_nobody_builds(conn, column)


def _details(measured: MeasuredRecall) -> dict[str, object]:
    return {
        "k": measured.k,
        "queries": measured.queries,
        "recall_asked": measured.asked,
        "p50_ms": measured.chosen.p50_ms,
        "p95_ms": measured.chosen.p95_ms,
        "by_ef_search": [asdict(point) for point in measured.points],
        "other_index": measured.other_index,
    }
