"""A table can be cut anew: under a new name, while nobody uses the old ranges, and no vector is encoded again."""

from collections.abc import Sequence
from itertools import count

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import table_key, vector_key
from steam_assets.defs.jobs import EVERYTHING_JOB, column_job_name
from steam_assets.defs.partitions import (
    RangesRecut,
    current_name,
    cut_name,
    loaded_cuts,
    partitions_name,
    register_ranges,
    registered_ranges,
)
from steam_assets.defs.recut import NewCut, TableBusy, recut
from steam_assets.defs.runs import embed_column, plan_column
from steam_assets.store.database import connect, find_database
from steam_assets.store.ranges import BrokenRanges, check_contiguous
from steam_assets_tests.dagster_home import contents
from steam_assets_tests.rows import execute


def connect_here() -> connection:
    """A connection to the test's database."""
    return connect(find_database())


def load_anew() -> dg.Definitions:
    """The definitions as a process has them that starts now."""
    loaded_cuts.cache_clear()
    return build_definitions()


def run(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    job: str = "__ASSET_JOB",
    assets: Sequence[dg.AssetKey] = (),
    checks: Sequence[dg.AssetCheckKey] = (),
) -> str:
    """A run that Dagster has on record with this status; its id."""
    made = create_run_for_test(
        instance, job, status=status, asset_selection=frozenset(assets), asset_check_selection=frozenset(checks)
    )
    return str(made.run_id)


def embed(instance: dg.DagsterInstance, definitions: dg.Definitions, column: TextColumn) -> int:
    """Fill what a plan finds to do; rows that were encoded."""
    job = definitions.resolve_job_def(column_job_name(column))
    outcomes = list(embed_column(instance, job, column, connect_here))
    assert [outcome.errors for outcome in outcomes if outcome.errors] == []
    return sum(outcome.rows for outcome in outcomes)


@pytest.mark.usefixtures("few_ranges")
@pytest.mark.parametrize("column", [APPLICATIONS, REVIEWS], ids=["bigint", "text"])
def test_after_a_recut_every_row_keeps_its_vector_and_all_new_ranges_go_green_with_none_encoded(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    tables: connection,
    monkeypatch: pytest.MonkeyPatch,
    column: TextColumn,
) -> None:
    """The new ranges have never been materialized: the next run goes through them, and finds nothing to do."""
    assert embed(instance, definitions, column) == 24
    before = contents(tables, column)
    old = registered_ranges(instance, column)
    filled = instance.get_materialized_partitions(vector_key(column))

    monkeypatch.setattr("steam_assets.store.ranges.FEWEST_RANGES", 3)
    made = recut(instance, tables, column)
    anew = load_anew()
    found = registered_ranges(instance, column)
    assert made == NewCut(str(column), f"{column.table}_id_range_v2", len(found))
    check_contiguous(column, found)
    assert len(found) == len(old) + 1
    assert {id_range.key for id_range in plan_column(instance, column, connect_here).wanted} == {
        id_range.key for id_range in found
    } - filled

    assert embed(instance, anew, column) == 0
    assert contents(tables, column) == before
    materialized = instance.get_materialized_partitions(vector_key(column))
    assert materialized >= {id_range.key for id_range in [*old, *found]}
    assert plan_column(instance, column, connect_here).wanted == []


def test_the_old_cut_stays_as_it_was(instance: dg.DagsterInstance, tables: connection) -> None:
    """Its keys are never changed or deleted, and new ids get ranges in the new cut only."""
    old = [id_range.key for id_range in register_ranges(instance, tables, APPLICATIONS)]
    recut(instance, tables, APPLICATIONS)
    load_anew()
    execute(tables, "INSERT INTO applications (appid, name) VALUES (99999, 'Later')")
    register_ranges(instance, tables, APPLICATIONS)

    assert list(instance.get_dynamic_partitions("applications_id_range")) == old
    assert len(instance.get_dynamic_partitions("applications_id_range_v2")) > len(old)
    assert current_name(instance, REVIEWS) == "reviews_id_range"


def test_a_process_that_loaded_an_earlier_cut_says_so_until_it_is_loaded_anew(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Its assets have the old partitions: what it asked for with the new keys would be refused, one by one."""
    recut(instance, tables, APPLICATIONS)
    with pytest.raises(RangesRecut, match=r"they are applications_id_range_v2, .* Reload the code location"):
        register_ranges(instance, tables, APPLICATIONS)
    assert register_ranges(instance, tables, REVIEWS) == registered_ranges(instance, REVIEWS)

    assets = load_anew().resolve_asset_graph()
    partitions = assets.get(vector_key(APPLICATIONS)).partitions_def
    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    assert partitions.name == partitions_name(APPLICATIONS) == "applications_id_range_v2"
    assert register_ranges(instance, tables, APPLICATIONS) == registered_ranges(instance, APPLICATIONS)


def test_a_recut_is_the_way_out_of_ranges_that_somebody_has_broken(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """A hole cannot be filled in order; a new cut has none."""
    for column in (APPLICATIONS, REVIEWS):
        _, second, *_ = register_ranges(instance, tables, column)
        instance.delete_dynamic_partition(partitions_name(column), second.key)
        with pytest.raises(BrokenRanges):
            register_ranges(instance, tables, column)
        recut(instance, tables, column)
    load_anew()
    for column in (APPLICATIONS, REVIEWS):
        check_contiguous(column, register_ranges(instance, tables, column))


def test_a_recut_that_died_half_way_is_as_if_it_had_not_been_begun(
    instance: dg.DagsterInstance, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ranges are registered under a name that nobody uses, and the next recut takes another."""
    before = register_ranges(instance, tables, APPLICATIONS)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("steam_assets.defs.recut.write_cut", die)
        with pytest.raises(KeyboardInterrupt):
            recut(instance, tables, APPLICATIONS)
    assert register_ranges(instance, tables, APPLICATIONS) == before

    execute(tables, "DELETE FROM applications WHERE appid > 100 AND appid NOT IN (SELECT appid FROM reviews)")
    assert recut(instance, tables, APPLICATIONS).partitions == "applications_id_range_v3"
    check_contiguous(APPLICATIONS, registered_ranges(instance, APPLICATIONS))


def test_an_empty_table_can_be_recut(instance: dg.DagsterInstance, conn: connection) -> None:
    """There is nothing to cut then; its first rows are cut under the new name."""
    assert recut(instance, conn, REVIEWS) == NewCut(str(REVIEWS), "reviews_id_range_v2", 0)
    load_anew()
    assert register_ranges(instance, conn, REVIEWS) == []
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'x')")
    execute(conn, "INSERT INTO reviews (recommendationid, appid) SELECT n, 1 FROM generate_series(1, 80) AS n")
    assert len(register_ranges(instance, conn, REVIEWS)) == 8
    assert len(instance.get_dynamic_partitions("reviews_id_range_v2")) == 8


def of_its_job(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A run of the column's job."""
    return run(instance, status, column_job_name(APPLICATIONS))


def of_everything(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A run of the job over all columns."""
    return run(instance, status, EVERYTHING_JOB)


def of_the_web_ui(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A run of Dagster's own job for the chosen assets."""
    return run(instance, status, assets=[vector_key(APPLICATIONS)])


def of_a_check(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A run of one check of a range."""
    return run(instance, status, checks=[dg.AssetCheckKey(vector_key(APPLICATIONS), "complete")])


def as_a_backfill(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A backfill whose runs the daemon has yet to start."""
    ended = status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
    backfill_id = f"backfill{status.value}"
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=backfill_id,
            status=BulkActionStatus.COMPLETED_SUCCESS if ended else BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            asset_selection=[vector_key(APPLICATIONS)],
            partition_names=[],
        )
    )
    return backfill_id


def test_a_table_whose_ranges_are_in_use_is_not_cut_anew(instance: dg.DagsterInstance, tables: connection) -> None:
    """Who uses them is named, with what to do; runs that have ended, and those of other tables, are no hindrance."""
    cuts = count(2)
    for begin in (of_its_job, of_everything, of_the_web_ui, of_a_check, as_a_backfill):
        begin(instance, dg.DagsterRunStatus.SUCCESS)
        name = begin(instance, dg.DagsterRunStatus.STARTED)
        with pytest.raises(TableBusy, match=rf"applications is in use by (run|backfill) {name} \((start|request)ed\)"):
            recut(instance, tables, APPLICATIONS)
        assert current_name(instance, APPLICATIONS) == cut_name(APPLICATIONS, 1)
        if begin is not of_everything:
            assert recut(instance, tables, REVIEWS).partitions == f"reviews_id_range_v{next(cuts)}"
        instance.delete_run(name)


def test_of_many_runs_some_are_named(instance: dg.DagsterInstance, tables: connection) -> None:
    """A backfill may have hundreds."""
    for _ in range(5):
        of_its_job(instance, dg.DagsterRunStatus.NOT_STARTED)
    with pytest.raises(TableBusy, match=r"and 2 more; ") as refused:
        recut(instance, tables, APPLICATIONS)
    assert str(refused.value).count("(not_started)") == 3


def test_checks_of_the_whole_column_use_no_ranges(instance: dg.DagsterInstance, tables: connection) -> None:
    """They belong to the table's asset, which has no partitions."""
    of_column = dg.AssetCheckKey(table_key(APPLICATIONS), "description_embedding_complete")
    run(instance, dg.DagsterRunStatus.STARTED, checks=[of_column])
    assert recut(instance, tables, APPLICATIONS).partitions == "applications_id_range_v2"
