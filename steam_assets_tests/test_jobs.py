"""The jobs a person can launch: one per column, its checks alone, and one for everything."""

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS, REVIEWS
from steam_assets.definitions import defs
from steam_assets.defs.assets import vector_key
from steam_assets.defs.jobs import EVERYTHING_JOB
from steam_assets.defs.partitions import registered_ranges
from steam_assets.store.status import column_status
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.rows import execute


def test_the_jobs_are_one_per_column_one_of_checks_each_one_for_all_and_one_that_purges() -> None:
    """What a person can launch from the jobs page."""
    assert {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")} == {
        "embed_applications_description_embedding",
        "embed_reviews_review_embedding",
        "check_applications_description_embedding",
        "check_reviews_review_embedding",
        "index_applications_description_hnsw",
        "index_reviews_review_hnsw",
        "measure_applications_description_variants",
        "measure_reviews_review_variants",
        "embed_everything",
        "purge_history",
    }


def everything() -> ReconstructableJob:
    """The job for everything as a run of the web UI finds it: by the name of the code location."""
    return ReconstructableRepository.for_module("steam_assets.definitions", "defs").get_reconstructable_job(
        EVERYTHING_JOB
    )


@pytest.mark.usefixtures("few_ranges")
def test_one_job_fills_every_column(instance: dg.DagsterInstance, tables: connection) -> None:
    """The job for everything launches the columns' own runs, so that every range has its event."""
    with dg.execute_job(everything(), instance=instance) as result:
        assert result.success
    for column in COLUMNS:
        status = column_status(tables, column)
        assert status is not None
        assert status.state.coverage == 1
        assert instance.get_materialized_partitions(vector_key(column)) == {
            bounds.key for bounds in registered_ranges(instance, column)
        }


@pytest.mark.usefixtures("few_ranges")
def test_the_job_for_everything_fails_when_a_column_s_run_does(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """A red job, naming the column: a person must not take it for done."""
    execute(tables, "ALTER TABLE reviews ADD CONSTRAINT none CHECK (review_embedding IS NULL)")
    with dg.execute_job(everything(), instance=instance, raise_on_error=False) as result:
        assert not result.success
        (failure,) = (event for event in result.all_node_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error is not None
    assert str(REVIEWS) in str(error)


def test_a_red_check_fails_the_job_and_the_command_though_every_run_succeeded(
    instance: dg.DagsterInstance, tables: connection, steam_assets: Callable[..., Ended]
) -> None:
    """A vector that somebody has doubled is nobody's pending row: only a check of the whole column can say it."""
    assert steam_assets("embed").code == 0
    execute(
        tables,
        """
        UPDATE applications SET description_embedding = description_embedding * array_fill(2, ARRAY[384])::vector
        WHERE appid = 10
        """,
    )
    with dg.execute_job(everything(), instance=instance, raise_on_error=False) as result:
        assert not result.success
        (failure,) = (event for event in result.all_node_events if event.is_step_failure)
    reason = failure.step_failure_data.user_failure_data
    assert reason is not None
    assert reason.description is not None
    assert "applications.description_embedding: red checks description_embedding_norm." in reason.description
    ended = steam_assets("embed")
    assert ended.code == 1
    assert "Red checks: description_embedding_norm." in ended.err
