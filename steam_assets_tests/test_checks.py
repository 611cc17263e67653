"""Checks say what is true of the database, for a range and for the whole column, and stop what is downstream."""

from collections.abc import Mapping, Sequence

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
)
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.defs.assets import RANGES_PER_RUN, table_key, vector_key
from steam_assets.defs.checks import column_check_name, result, scan
from steam_assets.defs.jobs import checks_job_name
from steam_assets.defs.partitions import partitions_of, registered_ranges
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.runs import QUIET, run_checks
from steam_assets.defs.runs import execute as run_job
from steam_assets.rules import RULES
from steam_assets_tests.dagster_home import materialize
from steam_assets_tests.rows import execute


def newest_evaluation(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str | None
) -> dg.AssetCheckEvaluation:
    """The newest answer of a check for a range, or for a whole run or column."""
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
    events = [record.event for record in history if record.partition == partition and record.event is not None]
    event = events[0].dagster_event
    assert event is not None
    return event.asset_check_evaluation_data


def named_rows(evaluation: dg.AssetCheckEvaluation | dg.AssetCheckResult) -> dict[str, object]:
    """The ids that an answer names, by what is wrong with them."""
    return {
        name: value.value
        for name, value in evaluation.metadata.items()
        if name.startswith("first_") and name.endswith("_ids")
    }


def counted_as(
    instance: dg.DagsterInstance,
    status: AssetCheckExecutionResolvedStatus,
    rule: str,
    column: TextColumn = APPLICATIONS,
) -> set[str]:
    """The partitions that the UI counts with this status for a check, by the code it asks."""
    check, partitions = dg.AssetCheckKey(vector_key(column), rule), partitions_of(column)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        state = instance.event_log_storage.get_asset_check_state([(check, partitions)])[check]
        subset = state.subsets[status].subset_value
        return set(subset.get_partition_keys())


def check_whole_column(instance: dg.DagsterInstance, definitions: dg.Definitions, column: TextColumn) -> set[str]:
    """The rules that are not green for all of a column."""
    red = run_checks(instance, definitions.resolve_job_def(checks_job_name(column)))
    return {name.removeprefix(f"{column.vector}_") for name in red}


@pytest.fixture
def embedded(instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection) -> dg.Definitions:
    """Definitions with the first three ranges of the applications filled in one run."""
    assert materialize(instance, definitions, APPLICATIONS, ranges=3).errors == ()
    return definitions


def test_each_range_of_a_run_over_several_is_counted_green_for_every_check(
    instance: dg.DagsterInstance, embedded: dg.Definitions
) -> None:
    """The UI's partition bar of each check shows three green ranges: none skipped, none waiting."""
    keys = {id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:3]}
    for rule in RULES:
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, rule.name) == keys
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.SKIPPED, rule.name) == set()


def test_a_run_of_one_range_answers_every_check_for_that_range(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """A range that is materialized alone is counted like one of many."""
    materialize(instance, definitions, REVIEWS, first=1)
    key = registered_ranges(instance, REVIEWS)[1].key
    for rule in RULES:
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, rule.name, REVIEWS) == {key}


TAMPERING = """
    ALTER TABLE applications ALTER COLUMN description_embedding TYPE vector;
    INSERT INTO embedding_runs (model_name, dimension, normalized) VALUES ('another', 384, true);
    UPDATE applications SET description_embedding = description_embedding * array_fill(2, ARRAY[384])::vector
    WHERE appid = 10;
    UPDATE applications SET description_embedding_source_md5 = md5('another text')::uuid
    WHERE appid = 40;
    UPDATE applications SET embedding_run_id = (SELECT max(run_id) FROM embedding_runs)
    WHERE appid = 50;
    UPDATE applications SET description_embedding = '[0, 0, 1]'
    WHERE appid = 60;
    UPDATE applications
    SET description_embedding = NULL, embedding_run_id = NULL, description_embedding_source_md5 = NULL
    WHERE appid IN (70, 80);
    INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind, reason)
    SELECT 'applications', 'description_embedding', 1, '70', md5(combined_text)::uuid, 'failed', 'a test'
    FROM applications
    WHERE appid = 70;
"""
SPOILT = {
    "complete": {"first_pending_ids": "40, 50, 80", "first_failed_ids": "70"},
    "coverage": {"first_pending_ids": "40, 50, 80", "first_failed_ids": "70"},
    "dimension": {"first_dimension_ids": "60"},
    "norm": {"first_norm_ids": "10"},
    "provenance": {"first_provenance_ids": "50, 60"},
    "drift": {"first_drift_ids": "40"},
}
"""What each check of the whole column must name after TAMPERING."""
SPOILT_IN_SECOND_RANGE = {
    "complete": {"first_pending_ids": "40, 50"},
    "coverage": {"first_pending_ids": "40, 50"},
    "dimension": {"first_dimension_ids": "60"},
    "provenance": {"first_provenance_ids": "50, 60"},
    "drift": {"first_drift_ids": "40"},
}


@pytest.fixture
def tampered(instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection) -> dg.Definitions:
    """Definitions with all nine applications embedded, and then six of them spoilt behind our back."""
    execute(tables, "DELETE FROM applications WHERE appid > 90")
    assert materialize(instance, definitions, APPLICATIONS, ranges=3).errors == ()
    execute(tables, TAMPERING)
    return definitions


def test_checks_of_the_whole_column_name_the_rows_that_break_each_rule(
    instance: dg.DagsterInstance, tampered: dg.Definitions
) -> None:
    """Spoilt rows turn exactly the checks red that speak of them, with their ids in the table's order."""
    assert check_whole_column(instance, tampered, APPLICATIONS) == set(SPOILT)
    for rule in RULES:
        evaluation = newest_evaluation(
            instance, dg.AssetCheckKey(table_key(APPLICATIONS), column_check_name(APPLICATIONS, rule)), None
        )
        assert named_rows(evaluation) == SPOILT[rule.name]
        if "failed" in rule.offences:
            assert evaluation.metadata["first_reasons"].value == "70 (a test)"
            assert "1 row could not be embedded (70 (a test)): " in str(evaluation.description)


def test_checks_of_a_range_name_its_own_rows_only(instance: dg.DagsterInstance, tampered: dg.Definitions) -> None:
    """The same rows, seen range by range: the second range's checks know nothing of the first's."""
    second = registered_ranges(instance, APPLICATIONS)[1]
    found = scan(DatabaseResource(), APPLICATIONS, [second], "a run")
    answers = {rule.name: result(rule, APPLICATIONS, found, vector_key(APPLICATIONS), rule.name) for rule in RULES}

    assert {name: named_rows(answer) for name, answer in answers.items() if not answer.passed} == SPOILT_IN_SECOND_RANGE


def test_one_red_range_of_a_run_is_counted_red_and_its_neighbours_green(
    instance: dg.DagsterInstance, tampered: dg.Definitions
) -> None:
    """Only the range with a vector of another length is red for norm; the answer for the run is red as well."""
    materialize(instance, tampered, APPLICATIONS, ranges=3)
    first, second, third = (id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:3])

    assert counted_as(instance, AssetCheckExecutionResolvedStatus.FAILED, "norm") == {first}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, "norm") >= {second, third}
    for_the_run = newest_evaluation(instance, dg.AssetCheckKey(vector_key(APPLICATIONS), "norm"), None)
    assert not for_the_run.passed


def check_alone(
    instance: dg.DagsterInstance, definitions: dg.Definitions, names: Sequence[str], tags: Mapping[str, str]
) -> bool:
    """Launch checks of the applications without their asset, as the UI does; whether the run was a success."""
    checks = {dg.AssetCheckKey(vector_key(APPLICATIONS), name) for name in names}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=frozenset(), asset_check_selection=checks
    )
    result, _ = run_job(instance, job, QUIET, tags=tags)
    return result.success


RANGES = ("the one range", "all three", "none in particular")


@pytest.mark.parametrize("launched_for", RANGES)
def test_checks_can_be_run_alone_for_a_range_for_several_and_for_none_in_particular(
    instance: dg.DagsterInstance, embedded: dg.Definitions, tables: connection, launched_for: str
) -> None:
    """A changed text turns its own range red, whoever asks; the asset's page shows red then, and green ones stay."""
    first, second, third = (id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:3])
    execute(tables, "UPDATE applications SET short_description = 'Now about sailing.' WHERE appid = 50")
    tags = dict(
        zip(
            RANGES,
            (
                {"dagster/partition": second},
                {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": third},
                {},
            ),
            strict=True,
        )
    )
    execute(tables, "DELETE FROM applications WHERE appid > 90")

    assert not check_alone(instance, embedded, ["complete"], tags[launched_for])
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.FAILED, "complete") == {second}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, "complete") >= {first, third}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, "coverage") == {first, second, third}
    check = dg.AssetCheckKey(vector_key(APPLICATIONS), "complete")
    shown = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert shown.status is AssetCheckExecutionRecordStatus.FAILED
    assert check_alone(instance, embedded, ["norm", "coverage"], tags[launched_for])


def downstream_ran(
    instance: dg.DagsterInstance, definitions: dg.Definitions, column: TextColumn, key: str, limit: int | None = None
) -> bool:
    """Whether an asset that depends on the column is computed in the same run after it."""

    @dg.asset(
        deps=[vector_key(column)],
        partitions_def=partitions_of(column),
        backfill_policy=dg.BackfillPolicy.multi_run(RANGES_PER_RUN),
    )
    def downstream() -> None:
        """What a user would build on the vectors."""

    job = dg.define_asset_job("with_downstream", selection=dg.AssetSelection.assets(vector_key(column), "downstream"))
    extended = dg.Definitions.merge(definitions, dg.Definitions(assets=[downstream], jobs=[job]))
    config = {**QUIET, "ops": {"__".join(vector_key(column).path): {"config": {"limit": limit}}}}
    run_job(instance, extended.resolve_job_def("with_downstream"), config, partition_key=key)
    return key in instance.get_materialized_partitions(dg.AssetKey("downstream"))


def test_what_is_downstream_waits_for_pending_rows(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    """A range with rows left over is not built upon; once it is complete, it is."""
    key = registered_ranges(instance, APPLICATIONS)[0].key
    assert not downstream_ran(instance, definitions, APPLICATIONS, key, limit=1)
    assert downstream_ran(instance, definitions, APPLICATIONS, key)


def test_what_is_downstream_waits_for_vectors_of_the_wrong_dimension(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A column of a user's own may hold vectors of any length; one that differs stops the run."""
    first, second = registered_ranges(instance, APPLICATIONS)[:2]
    materialize(instance, definitions, APPLICATIONS, ranges=2)
    execute(tables, "ALTER TABLE applications ALTER COLUMN description_embedding TYPE vector")
    execute(tables, "UPDATE applications SET description_embedding = '[0, 0, 1]' WHERE appid = 10")

    assert not downstream_ran(instance, definitions, APPLICATIONS, first.key)
    assert downstream_ran(instance, definitions, APPLICATIONS, second.key)


def test_one_failed_row_of_a_thousand_turns_coverage_red_and_stops_nothing(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Quarantine is seen, and downstream goes on while at most 0.1 % of the rows are in it."""
    execute(
        tables,
        """
        INSERT INTO reviews (recommendationid, appid) SELECT '~' || n, 10 FROM generate_series(1000, 2000) AS n;
        INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind, reason)
        SELECT 'reviews', vector_column, target_run_id, '9', md5(review_text)::uuid, 'failed', 'a test'
        FROM reviews, embedding_columns
        WHERE recommendationid = '9' AND vector_column = 'review_embedding'
        """,
    )
    last = registered_ranges(instance, REVIEWS)[-1].key

    assert downstream_ran(instance, definitions, REVIEWS, last)
    red = [
        rule.name
        for rule in RULES
        if not newest_evaluation(instance, dg.AssetCheckKey(vector_key(REVIEWS), rule.name), last).passed
    ]
    assert red == ["coverage"]


def test_a_check_that_could_not_run_is_not_green(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Without an answer from the database every rule counts as red."""
    execute(tables, "ALTER TABLE embedding_failures RENAME TO gone")
    assert check_whole_column(instance, definitions, APPLICATIONS) == {rule.name for rule in RULES}


def test_the_registry_s_columns_have_the_same_rules_for_ranges_and_for_the_whole(definitions: dg.Definitions) -> None:
    """No rule is checked in one place only."""
    keys = definitions.resolve_asset_graph().asset_check_keys
    for column in COLUMNS:
        assert {dg.AssetCheckKey(vector_key(column), rule.name) for rule in RULES} <= keys
        assert {dg.AssetCheckKey(table_key(column), column_check_name(column, rule)) for rule in RULES} <= keys
