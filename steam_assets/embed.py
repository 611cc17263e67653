"""Filling columns from the command line: the assets' own runs in this process, with a log file and a progress bar."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.indexes import index_job_name, rebuild_lost
from steam_assets.defs.instance import open_instance
from steam_assets.defs.jobs import checks_job_name, column_job_name
from steam_assets.defs.lost_runs import fail_lost_runs
from steam_assets.defs.resources import GpuResource
from steam_assets.defs.runs import embed_column, plan_column, run_checks
from steam_assets.device_lease import lease_device
from steam_assets.exits import raise_if_interrupted
from steam_assets.logs import log_file
from steam_assets.progress import Progress, watching
from steam_assets.store.database import find_database
from steam_assets.store.server import check_rights, check_writable
from steam_assets.targets import model_to_fill, target_run
from steam_assets.terminal import embedding_bar

logger = logging.getLogger("steam_assets")


@dataclass(frozen=True)
class EmbedOutcome:
    """What a command's runs came to: rows through the encoder, errors of failed runs, red checks of whole columns."""

    rows: int
    errors: tuple[str, ...]
    red_checks: tuple[str, ...]
    log: Path


def embed_columns(
    columns: Sequence[TextColumn],
    connect: Callable[[], connection],
    gpu: GpuResource,
    limit: int | None,
    say: Callable[[str], None],
    config: Mapping[str, object] | None = None,
) -> EmbedOutcome:
    """Materialize every pending range of ``columns``, then check each whole column; stop after ``limit`` rows.

    An index that a column had and that bulk work dropped is built again where the column is complete.
    ``config`` are other fields of EmbeddingConfig, for each run.
    """
    rows = 0
    errors: list[str] = []
    red_checks: list[str] = []

    def count(progress: Progress) -> None:
        nonlocal rows
        rows += progress.rows

    require_rights(columns, connect)
    with log_file("embed") as log, open_instance() as instance, watching(count):
        definitions = build_definitions(columns, gpu)  # in the instance: it knows which ranges are current
        logger.info("Database: %s, from %s", find_database().description, find_database().source)
        for run_id in fail_lost_runs(instance, connect):
            logger.info("Run %s had died; it is marked failed and its unfinished ranges lost.", run_id)
        plans = {column: plan_column(instance, column, connect) for column in columns}
        pending = sum(plan.rows for plan in plans.values())
        with (
            models_loaded(columns, connect, gpu, say) if pending else nullcontext(),
            embedding_bar(pending if limit is None else min(pending, limit), say),
        ):
            for column in (column for column, plan in plans.items() if plan.wanted):
                job = definitions.resolve_job_def(column_job_name(column))
                remaining = None if limit is None else limit - rows
                for outcome in embed_column(
                    instance, job, column, connect, remaining, config, None if rows else plans[column]
                ):
                    errors += outcome.errors
                    raise_if_interrupted()
        idle = not any(plan.wanted for plan in plans.values())
        for column in columns:
            job = definitions.resolve_job_def(checks_job_name(column))
            red_checks += run_checks(instance, job, plans[column].scanned if idle else None)
        for column in columns:
            job = definitions.resolve_job_def(index_job_name(column))
            errors += rebuild_lost(instance, job, column, connect, say)
            raise_if_interrupted()
    return EmbedOutcome(rows, tuple(errors), tuple(red_checks), log)


def require_rights(columns: Sequence[TextColumn], connect: Callable[[], connection]) -> None:
    """Raise before anything begins where the columns cannot be filled through this connection."""
    with closing(connect()) as conn:
        for column in columns:
            target_run(conn, column)
            check_writable(conn)
            check_rights(conn, column)


@contextmanager
def models_loaded(
    columns: Sequence[TextColumn], connect: Callable[[], connection], gpu: GpuResource, say: Callable[[str], None]
) -> Iterator[None]:
    """Lease a device for all runs of this process, and load the columns' models on it before the first begins.

    A model or a device that cannot be had is no run's failure.
    """

    def tell(line: str) -> None:
        logger.info(line)
        say(line)

    with lease_device(connect, gpu.settings, tell) or nullcontext() as leased:
        for column in columns:
            with closing(connect()) as conn:
                run = target_run(conn, column)
            gpu.on(leased).encoder(model_to_fill(run, column))
        yield
