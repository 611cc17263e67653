"""The sensor asks for an index once, when the column is complete and has none of its run; never beside a backfill."""

import time
from contextlib import closing
from dataclasses import dataclass, field

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.defs.in_progress import FIRST_PAUSE_S
from steam_assets.defs.index_sensor import EVERY_S, SHORTEST_REST_S, build_index_sensor, wanted_index
from steam_assets.defs.indexes import index_job_name
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.recipes import backfill_once
from steam_assets.defs.runs import QUIET
from steam_assets.store.database import connect, find_database
from steam_assets.store.hnsw import index_records, serving_index
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.indexed_rows import REVIEWS_INDEX, fill_reviews
from steam_assets_tests.requested_runs import enqueue
from steam_assets_tests.rows import change_recipe, execute, target_of


@dataclass
class Watch:
    """The reviews' sensor with a daemon's memory and a clock of its own."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    cursor: str | None = None
    now: float = field(default_factory=time.time)

    def tick(self, after_s: float = EVERY_S) -> dg.SensorResult:
        """The next tick, in its time."""
        self.now += after_s
        with closing(connect(find_database())) as conn:
            conn.autocommit = True
            found = wanted_index(self.instance, conn, REVIEWS, self.cursor, self.now)
        assert (found.skip_reason is None) == bool(found.run_requests)
        self.cursor = found.cursor
        return found

    def why_not(self, after_s: float = EVERY_S) -> str:
        """Why the next tick asks for nothing."""
        found = self.tick(after_s)
        assert found.skip_reason is not None
        assert isinstance(found.skip_reason, dg.SkipReason | str)
        return str(found.skip_reason)

    def carry_out(self, asked: dg.SensorResult) -> bool:
        """Do what a tick asked for, as the daemon would have it done; whether that succeeded."""
        (request,) = asked.run_requests or ()
        job = self.definitions.resolve_job_def(index_job_name(REVIEWS))
        done = job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={**QUIET, **request.run_config},
            tags=dict(request.tags),
        )
        return done.success


@pytest.fixture
def watch(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Watch:
    """Of reviews that are not embedded yet."""
    return Watch(instance, definitions)


def test_a_complete_column_s_index_is_asked_for_once(watch: Watch, tables: connection) -> None:
    """What it asks for is built, and then there is nothing to ask for."""
    assert "24 rows pending" in watch.why_not()
    fill_reviews(tables)
    assert watch.carry_out(watch.tick())
    assert serving_index(tables, REVIEWS, target_of(tables, REVIEWS)) is not None
    assert "is there" in watch.why_not()


def test_a_look_that_reads_the_table_is_followed_by_a_rest(watch: Watch) -> None:
    """Whether a column is complete takes a scan of it."""
    assert "rows pending" in watch.why_not()
    assert "the next look is in" in watch.why_not(SHORTEST_REST_S / 2)
    assert "rows pending" in watch.why_not(SHORTEST_REST_S)


def test_two_daemons_ask_for_one_run(watch: Watch, tables: connection) -> None:
    """Both have the cursor of the same tick."""
    watch.why_not()
    fill_reviews(tables)
    cursor = watch.cursor
    (first,) = watch.tick().run_requests or ()
    watch.cursor = cursor
    (second,) = watch.tick().run_requests or ()
    assert first.run_key == second.run_key is not None


def test_an_index_that_bulk_work_dropped_is_asked_for_as_it_was(watch: Watch, tables: connection) -> None:
    """The variant of before, not the default."""
    fill_reviews(tables)
    asked = watch.tick()
    (request,) = asked.run_requests or ()
    assert request.run_config == {"ops": {"reviews__review_hnsw": {"config": {"variant": "halfvec"}}}}
    job = watch.definitions.resolve_job_def(index_job_name(REVIEWS))
    config = {"ops": {"reviews__review_hnsw": {"config": {"variant": "bit", "recall": 0.5}}}}
    assert job.execute_in_process(instance=watch.instance, run_config={**QUIET, **config}).success
    assert "is there" in watch.why_not()
    drop_for_bulk(tables, REVIEWS, "bulk")
    (request,) = watch.tick().run_requests or ()
    assert request.run_config == {"ops": {"reviews__review_hnsw": {"config": {"variant": "bit"}}}}


def test_an_index_of_an_earlier_run_is_replaced_when_the_new_one_is_complete(watch: Watch, tables: connection) -> None:
    """Not while rows of it are pending."""
    fill_reviews(tables)
    assert watch.carry_out(watch.tick())
    execute(tables, "ALTER TABLE reviews ALTER review_embedding TYPE vector")
    second = change_recipe(tables, REVIEWS, "second")
    execute(tables, "UPDATE embedding_runs SET dimension = 384 WHERE run_id = %(run)s", run=second)
    assert "rows pending" in watch.why_not()
    fill_reviews(tables)
    assert watch.carry_out(watch.tick())
    (record,) = index_records(tables, REVIEWS)
    assert record.run_id == second


def test_nothing_is_asked_for_while_the_column_is_being_filled(
    watch: Watch, tables: connection, instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """A run of it, or a backfill: the index comes once, after them."""
    fill_reviews(tables)
    first = registered_ranges(instance, REVIEWS)[0]
    run = enqueue(instance, definitions, REVIEWS, {"dagster/partition": first.key})
    assert "1 ranges of reviews.review_embedding are being filled; its index comes after them" in watch.why_not()
    instance.delete_run(run.run_id)
    backfill = backfill_once(instance, REVIEWS, target_of(tables, REVIEWS), registered_ranges(instance, REVIEWS))
    assert "are being filled" in watch.why_not()
    found = instance.get_backfill(backfill)
    assert found is not None
    instance.update_backfill(found.with_status(BulkActionStatus.CANCELED))  # type: ignore[no-untyped-call]
    assert watch.tick().run_requests


def test_nothing_is_asked_for_while_the_index_is_being_built(
    watch: Watch, tables: connection, instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    """By whomever."""
    fill_reviews(tables)
    job = definitions.resolve_job_def(index_job_name(REVIEWS))
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert f"Run {run.run_id} builds the index" in watch.why_not()


def test_a_build_that_fails_is_tried_again_after_a_pause(watch: Watch, tables: connection) -> None:
    """A minute, then two; a disk that is full is not asked each minute."""
    fill_reviews(tables)
    execute(tables, f"CREATE INDEX {REVIEWS_INDEX} ON reviews (appid)")
    watch.now = time.time()
    assert not watch.carry_out(watch.tick(0))
    assert "The last 1 builds of the index of reviews.review_embedding failed" in watch.why_not(FIRST_PAUSE_S / 2)
    assert not watch.carry_out(watch.tick(FIRST_PAUSE_S * 1.5))
    assert "The last 2 builds" in watch.why_not(0)


def test_a_column_without_vectors_gets_no_index(watch: Watch, tables: connection) -> None:
    """Nothing is pending, and nothing is there."""
    execute(tables, "DELETE FROM reviews")
    assert "has no vector yet" in watch.why_not()


def test_the_sensor_is_on_where_automation_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like the others."""
    assert build_index_sensor(REVIEWS).default_status is dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("STEAM_ASSETS_AUTOMATION", "1")
    sensor = build_index_sensor(REVIEWS)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.name == "reviews_review_hnsw_wanted"
