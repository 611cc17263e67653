"""A run leaves rows, a materialization with its own numbers for every range, and no more than it committed."""

import os
import signal

import dagster as dg
import pytest
from dagster._core.events import HandledOutputData
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import vector_key
from steam_assets.defs.io_managers import VectorColumnIOManager
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.defs.runs import run_ranges
from steam_assets.encoder.encoder import Encoder
from steam_assets.progress import Progress, watching
from steam_assets.rules import RULES
from steam_assets.store.locks import release_range_lock, try_range_lock
from steam_assets_tests.dagster_home import contents, embedded_rows, materialize
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.test_checks import counted_as

OPERATORS_QUESTIONS = {
    *("rows", "rows_per_s", "tokens", "tokens_per_s", "seconds", "truncated_texts", "quarantined_rows"),
    *("changed_meanwhile", "gone_meanwhile", "cleared_blank", "memory_errors", "batch_tokens", "cpu_percent_mean"),
    *("model", "device", "dtype", "embedding_run", "sample"),
}
ATTEMPTS = "SELECT range_key, status, dagster_run_id, rows_written FROM embedding_run_ranges ORDER BY range_id"


def materialization(instance: dg.DagsterInstance, key: str) -> dg.AssetMaterialization:
    """The newest materialization of a range of applications."""
    wanted = dg.AssetRecordsFilter(asset_key=vector_key(APPLICATIONS), asset_partitions=[key])
    found = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    assert found is not None
    return found


def refuse_to_write(conn: connection, appid: int) -> None:
    """Have the server refuse every change of one application."""
    execute(
        conn,
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this row'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON applications FOR EACH ROW WHEN (NEW.appid = {appid})
            EXECUTE FUNCTION refuse();
        """,
    )


def test_one_materialized_range_has_its_vectors_and_what_an_operator_asks(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, minilm_encoder: Encoder
) -> None:
    """Rows of the range are written, no others, and the event tells rows, speed, model, run and a sample."""
    first, second = registered_ranges(instance, APPLICATIONS)[:2]
    outcome = materialize(instance, definitions, APPLICATIONS)

    assert outcome.errors == ()
    written = fetch(tables, "SELECT appid FROM applications WHERE description_embedding IS NOT NULL ORDER BY appid")
    assert [appid for (appid,) in written] == [10, 20, 30]
    assert (first.stop, second.start) == (40, 40)
    metadata = materialization(instance, first.key).metadata
    assert set(metadata) >= OPERATORS_QUESTIONS
    assert metadata["rows"].value == 3
    assert metadata["model"].value == "sentence-transformers/all-MiniLM-L6-v2"
    assert metadata["device"].value == f"{minilm_encoder.backend.device_name} (cpu#0)"
    sample = metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [record.data["id"] for record in sample.records] == ["10", "20", "30"]
    assert fetch(tables, ATTEMPTS) == [(first.key, "done", outcome.run_id, 3)]


def test_a_run_over_three_ranges_materializes_each_with_its_own_numbers(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """The numbers of a range are not those of the run: each sample shows the range's own rows."""
    ranges = registered_ranges(instance, APPLICATIONS)[:3]
    outcome = materialize(instance, definitions, APPLICATIONS, ranges=3)

    assert outcome.errors == ()
    assert outcome.rows == embedded_rows(tables, APPLICATIONS) == 9
    found = [materialization(instance, id_range.key).metadata for id_range in ranges]
    first_ids = []
    for metadata in found:
        sample = metadata["sample"]
        assert isinstance(sample, dg.TableMetadataValue)
        first_ids.append(sample.records[0].data["id"])
    assert first_ids == ["10", "40", "70"]
    assert [metadata["rows"].value for metadata in found] == [3, 3, 3]
    assert instance.get_materialized_partitions(vector_key(APPLICATIONS)) == {id_range.key for id_range in ranges}


def test_a_run_that_fails_in_its_second_range_leaves_the_first_materialized(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A long run loses the range it failed in, not those before it, and says why in the database's words."""
    refuse_to_write(tables, 50)
    ranges = registered_ranges(instance, APPLICATIONS)[:3]
    outcome = materialize(instance, definitions, APPLICATIONS, ranges=3)

    assert any("not this row" in error for error in outcome.errors)
    assert instance.get_materialized_partitions(vector_key(APPLICATIONS)) == {ranges[0].key}
    for rule in RULES:
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, rule.name) == {ranges[0].key}
        unanswered = {ranges[1].key, ranges[2].key}
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.EXECUTION_FAILED, rule.name) == unanswered
    assert [row[:2] for row in fetch(tables, ATTEMPTS)] == [(ranges[0].key, "done"), (ranges[1].key, "failed")]
    assert embedded_rows(tables, APPLICATIONS) == 3
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_materializing_a_range_again_writes_nothing(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A range that is done has no pending row, so no row gets a new version."""
    materialize(instance, definitions, APPLICATIONS, ranges=2)
    before = contents(tables, APPLICATIONS)

    again = materialize(instance, definitions, APPLICATIONS, ranges=2)
    assert (again.rows, again.errors) == (0, ())
    assert contents(tables, APPLICATIONS) == before


@pytest.fixture
def one_text_at_a_time(definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """Definitions whose packs hold one text, each committed at once."""
    monkeypatch.setattr("steam_assets.store.write.CHUNK_ROWS", 1)
    return build_definitions(COLUMNS, GpuResource(device="cpu", batch_tokens=16))


def test_terminate_keeps_committed_rows_and_records_the_range_as_aborted(
    instance: dg.DagsterInstance, one_text_at_a_time: dg.Definitions, tables: connection
) -> None:
    """What Dagster's Terminate sends, after it has noted the wish, ends a run in its first range as canceled."""

    def terminate(progress: Progress) -> None:
        (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGINT)

    with watching(terminate), pytest.raises(KeyboardInterrupt):
        materialize(instance, one_text_at_a_time, APPLICATIONS, ranges=3)
    assert_aborted_after_one_row(instance, tables)


def test_an_interrupt_ends_the_run_as_canceled_and_not_as_failed(
    instance: dg.DagsterInstance, one_text_at_a_time: dg.Definitions, tables: connection
) -> None:
    """Ctrl-C at a command is a person's wish too, although Dagster was told of none."""

    def interrupt(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with watching(interrupt), pytest.raises(KeyboardInterrupt):
        materialize(instance, one_text_at_a_time, APPLICATIONS, ranges=3)
    assert_aborted_after_one_row(instance, tables)


def assert_aborted_after_one_row(instance: dg.DagsterInstance, conn: connection) -> None:
    """One row is written and recorded, no second range was begun, and the run is canceled."""
    ((key, status, run_id, rows),) = fetch(conn, ATTEMPTS)
    assert (key, status) == (registered_ranges(instance, APPLICATIONS)[0].key, "aborted")
    assert rows == embedded_rows(conn, APPLICATIONS) == 1
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED


def test_vectors_are_never_loaded_into_memory_as_an_asset_s_input() -> None:
    """An asset that takes the column as an argument is told to use deps and SQL."""
    database = DatabaseResource()
    manager = VectorColumnIOManager(database=database, gpu=GpuResource())
    with pytest.raises(NotImplementedError, match="Use deps="):
        manager.load_input(dg.build_input_context())


def test_only_the_chosen_column_is_written(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A run of the reviews leaves the applications as they are."""
    before = contents(tables, APPLICATIONS)
    materialize(instance, definitions, REVIEWS, ranges=3)

    assert embedded_rows(tables, REVIEWS) > 0
    assert contents(tables, APPLICATIONS) == before


def test_a_range_that_another_run_fills_is_left_to_it_and_the_others_are_filled(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """That range is not materialized, its check is red and the run fails, until it is complete in the database."""
    first, taken, third = registered_ranges(instance, APPLICATIONS)[:3]
    assert try_range_lock(tables, APPLICATIONS, taken.key)
    outcome = materialize(instance, definitions, APPLICATIONS, ranges=3)

    assert [row[:2] for row in fetch(tables, ATTEMPTS)] == [(first.key, "done"), (third.key, "done")]
    assert instance.get_materialized_partitions(vector_key(APPLICATIONS)) == {first.key, third.key}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.FAILED, "complete") == {taken.key}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, "complete") == {first.key, third.key}
    (observation,) = observations(instance)
    assert "is being filled by another run" in str(observation.metadata["skipped"].value)
    (error,) = outcome.errors
    assert "1 of 3 ranges" in error
    assert taken.key in error
    release_range_lock(tables, APPLICATIONS, taken.key)
    assert materialize(instance, definitions, APPLICATIONS, ranges=3).rows == 3


def test_a_range_that_another_run_has_filled_by_the_end_is_done(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """What counts is the database when the run has done the rest."""
    first, taken, third = registered_ranges(instance, APPLICATIONS)[:3]
    materialize(instance, definitions, APPLICATIONS, first=1)
    assert try_range_lock(tables, APPLICATIONS, taken.key)
    tables.commit()

    assert materialize(instance, definitions, APPLICATIONS, ranges=3).errors == ()
    assert "is being filled by another run" in str(materialization(instance, taken.key).metadata["skipped"].value)
    keys = {first.key, taken.key, third.key}
    assert counted_as(instance, AssetCheckExecutionResolvedStatus.SUCCEEDED, "complete") == keys


def events(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    """The events of one kind that a run wrote, in order."""
    return [entry.get_dagster_event() for entry in instance.all_logs(run_id, of_type=kind)]


def observations(instance: dg.DagsterInstance) -> list[dg.AssetObservation]:
    """What was observed of the applications' ranges, the newest first."""
    records = instance.fetch_observations(vector_key(APPLICATIONS), limit=100).records
    return [found for record in records if (found := record.asset_observation) is not None]


def test_each_range_is_told_once(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    """One materialization and one answer of each check for a range, told before the next; the run's own at its end."""
    keys = [id_range.key for id_range in registered_ranges(instance, APPLICATIONS)[:3]]
    run_id = materialize(instance, definitions, APPLICATIONS, ranges=3).run_id

    materialized = events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert [event.partition for event in materialized] == keys
    told = [
        event.asset_check_evaluation_data
        for event in events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]
    names = [rule.name for rule in RULES]
    assert [(answer.partition, answer.check_name) for answer in told] == [
        (key, name) for key in (*keys, None) for name in names
    ]
    assert events(instance, run_id, dg.DagsterEventType.ASSET_OBSERVATION) == []


def test_a_long_range_is_observed_while_it_is_filled(
    instance: dg.DagsterInstance, one_text_at_a_time: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far it is, as often as the interval allows: here at each commit, one for each row and one at the end."""
    monkeypatch.setattr("steam_assets.defs.range_events.OBSERVED_EVERY_S", 0.0)
    materialize(instance, one_text_at_a_time, APPLICATIONS)
    key = registered_ranges(instance, APPLICATIONS)[0].key
    found = observations(instance)
    assert [observation.partition for observation in found] == [key] * 4
    assert [observation.metadata["rows_so_far"].value for observation in found] == [3, 3, 2, 1]


def test_a_range_that_is_not_complete_is_observed_and_not_materialized(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """A limit leaves two rows of a range: its numbers are kept, its checks red, and the failed run names the rows."""
    job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    first = registered_ranges(instance, APPLICATIONS)[0]
    (error,) = run_ranges(instance, job, APPLICATIONS, [first], {"limit": 1}).errors

    assert error.startswith("applications.description_embedding: 1 of 1 ranges have red blocking checks.")
    assert "complete. 2 rows pending (20, 30): `steam-assets embed applications.description_embedding`" in error
    assert instance.get_materialized_partitions(vector_key(APPLICATIONS)) == set()
    (observation,) = observations(instance)
    assert observation.partition == first.key
    assert observation.metadata["rows"].value == 1
    for rule in ("complete", "coverage"):
        assert counted_as(instance, AssetCheckExecutionResolvedStatus.FAILED, rule) == {first.key}


def test_a_run_says_how_many_dead_rows_it_leaves(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Each row was written once, so each left a version behind."""
    run_id = materialize(instance, definitions, APPLICATIONS, ranges=3).run_id
    handled, *_ = events(instance, run_id, dg.DagsterEventType.HANDLED_OUTPUT)
    assert isinstance(handled.event_specific_data, HandledOutputData)
    dead_rows = handled.event_specific_data.metadata["dead_rows"].value
    assert isinstance(dead_rows, int)
    assert dead_rows > 0
