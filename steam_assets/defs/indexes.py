"""HNSW indexes as assets with a recall check, and their jobs. Building them is indexes/build.py's."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import derived_key, step_name, vector_key
from steam_assets.defs.png import markdown_png
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.runs import QUIET, execute, message_of
from steam_assets.indexes.build import IndexReport, Wanted, build_measured_index, check_possible
from steam_assets.indexes.judge import Judgement, judge_index
from steam_assets.indexes.ready import finding_of, why_not_ready
from steam_assets.store.hnsw import variants_to_build
from steam_assets.store.hnsw_checks import IndexImpossible
from steam_assets.store.hnsw_lock import IndexBeingBuilt
from steam_assets.store.limits import unlimited
from steam_assets.store.locks import living_run
from steam_assets.store.variants import find_variant
from steam_assets.targets import target_run

RECALL_CHECK = "recall"


class IndexConfig(dg.Config):
    """What the launchpad offers; what is not said is as it was when the index was last built, or as many rows ask for.

    ``recall`` is the recall@10 that searches are to have; ef_search is chosen for it.
    """

    variant: str | None = None
    m: int | None = None
    ef_construction: int | None = None
    recall: float | None = None

    def wanted(self) -> Wanted:
        """As building takes it."""
        return Wanted(self.variant, self.m, self.ef_construction, self.recall)


def index_key(column: TextColumn) -> dg.AssetKey:
    """The asset of the column's index: ["reviews", "review_hnsw"] of review_embedding."""
    return derived_key(column, "hnsw")


def index_job_name(column: TextColumn) -> str:
    """The job that builds the column's index and checks it."""
    return f"index_{'_'.join(index_key(column).path)}"


def build_index_asset(column: TextColumn) -> dg.AssetsDefinition:
    """The HNSW index on the column, of all of it: no run of ranges builds it."""

    @dg.asset(
        key=index_key(column),
        deps=[vector_key(column)],
        group_name="steam_assets",
        kinds={"postgres"},
        description=(
            f"The index that searches of {column} go through, of one run's vectors. It is built beside searches and "
            "writes once the column is complete, measured against comparing every row, and put in the old one's place."
        ),
    )
    def hnsw_index(context: dg.AssetExecutionContext, config: IndexConfig, database: DatabaseResource) -> None:
        run_id = context.run.run_id
        with living_run(database.connect, run_id):
            done = build_measured_index(database.connect, column, config.wanted(), context.log.info, run_id)
        context.add_output_metadata(index_metadata(done))

    return hnsw_index


def build_index_check(column: TextColumn) -> dg.AssetChecksDefinition:
    """Searches through the index find what comparing every row would find."""

    @dg.asset_check(
        name=RECALL_CHECK,
        asset=index_key(column),
        description="The index is of the run that fills the column, and its recall@10 is what was asked for.",
    )
    def recall_check(context: dg.AssetCheckExecutionContext, database: DatabaseResource) -> dg.AssetCheckResult:
        with living_run(database.connect, context.op_execution_context.run.run_id) as conn:
            return check_result(judge_index(conn, column))

    return recall_check


def build_index_job(column: TextColumn) -> UnresolvedAssetJobDefinition:
    """Build one column's index."""
    return dg.define_asset_job(
        index_job_name(column),
        selection=dg.AssetSelection.assets(index_key(column)),
        description=f"Build the index of {column} once the column is complete, measure it, and let searches use it.",
    )


def index_metadata(done: IndexReport) -> dict[str, dg.MetadataValue]:
    """What an operator asks of an index: recall, ef_search, latency, size, how it was built, and the plot."""
    from steam_assets.indexes.recall_plot import recall_plot

    built, measured = done.built, done.measured
    point = measured.chosen
    title = f"{done.column}: {built.variant}, {built.rows:,} rows"
    return {
        "variant": dg.MetadataValue.text(built.variant),
        f"recall@{measured.k}": dg.MetadataValue.float(point.recall),
        "recall_asked": dg.MetadataValue.float(measured.asked),
        "ef_search": dg.MetadataValue.int(point.ef_search),
        "p50_ms": dg.MetadataValue.float(point.p50_ms),
        "p95_ms": dg.MetadataValue.float(point.p95_ms),
        "queries": dg.MetadataValue.int(measured.queries),
        "rows": dg.MetadataValue.int(built.rows),
        "size_bytes": dg.MetadataValue.int(built.bytes),
        "build_seconds": dg.MetadataValue.float(built.seconds),
        "m": dg.MetadataValue.int(built.settings.m),
        "ef_construction": dg.MetadataValue.int(built.settings.ef_construction),
        "memory_bytes": dg.MetadataValue.int(built.settings.memory_bytes),
        "workers": dg.MetadataValue.int(built.settings.workers),
        "embedding_run_id": dg.MetadataValue.int(built.run_id),
        "model": dg.MetadataValue.text(done.model_name),
        "index": dg.MetadataValue.text(built.name),
        "by_ef_search": dg.MetadataValue.table([dg.TableRecord(asdict(p)) for p in measured.points]),
        "plot": markdown_png(recall_plot(measured, title), f"recall and latency of {title} over ef_search"),
        **({"notices": dg.MetadataValue.text("\n".join(done.notices))} if done.notices else {}),
    }


def check_result(judged: Judgement) -> dg.AssetCheckResult:
    """What Dagster is told of an index's recall."""
    numbers = {"recall": judged.recall, "recall_asked": judged.asked}
    return dg.AssetCheckResult(
        passed=judged.passed,
        description=judged.said,
        metadata={name: dg.MetadataValue.float(number) for name, number in numbers.items() if number is not None},
    )


@dataclass(frozen=True)
class IndexOutcome:
    """What a run of the job came to: errors by their class's name, and whether the recall check is red."""

    errors: tuple[tuple[str, str], ...]
    is_red: bool


def run_index(instance: dg.DagsterInstance, job: dg.JobDefinition, column: TextColumn, wanted: Wanted) -> IndexOutcome:
    """Build a column's index in a run of this process, which the web UI shows like any other."""
    config = {name: value for name, value in asdict(wanted).items() if value is not None}
    result, errors = execute(instance, job, {**QUIET, "ops": {step_name(index_key(column)): {"config": config}}})
    green = [check.passed for check in result.get_asset_check_evaluations()]
    return IndexOutcome(
        tuple((error.cls_name or "", message_of(error)) for error in errors), not (green and all(green))
    )


def rebuild_lost(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    column: TextColumn,
    connect: Callable[[], connection],
    say: Callable[[str], None],
) -> list[str]:
    """Build the column's indexes again that bulk work dropped, or that are of an older run, once it is complete.

    Returns what went wrong; an index that may not be built yet, or not by us, is said and is no failure.
    """
    problems: list[str] = []
    for variant in lost_and_possible(column, connect, say):
        say(f"{column}: its {variant} index is built again.")
        outcome = run_index(instance, job, column, Wanted(variant))
        problems += [f"{column}: {message}" for _, message in outcome.errors]
        if outcome.is_red and not outcome.errors:
            problems.append(f"{column}: the recall of its {variant} index is below what was asked for.")
    return problems


def lost_and_possible(column: TextColumn, connect: Callable[[], connection], say: Callable[[str], None]) -> list[str]:
    """Variants of indexes that the column had and can have again now."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        lost = variants_to_build(conn, column, run.run_id)
        if not lost:
            return []
        try:
            for variant in lost:
                check_possible(conn, column, run, find_variant(variant))
        except (IndexImpossible, IndexBeingBuilt) as error:
            say(str(error))
            return []
        with unlimited(conn):
            why_not = why_not_ready(column, finding_of(conn, column, run))
    if why_not is not None:
        say(why_not)
        return []
    return lost
