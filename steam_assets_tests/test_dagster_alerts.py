"""Sensors tell each failed run and each red check once, in one message, and nothing is lost while nobody listens."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from psycopg2.extensions import connection

from steam_assets.alerts import AlertNotSent
from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.definitions import build_definitions
from steam_assets.defs.alerts import WebhookResource
from steam_assets.defs.assets import table_key, vector_key
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import partitions_name, register_ranges
from steam_assets.defs.runs import run_ranges
from steam_assets_tests.requested_runs import HashGpu
from steam_assets_tests.webhook_server import Answer, WebhookServer

HOUR_S = 3600.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    """A webhook that listens, named by the environment; events count at once, and tries follow without a pause."""
    monkeypatch.setattr("steam_assets.defs.alerts.SETTLING_S", 0.0)
    monkeypatch.setattr("steam_assets.alerts.backoff_s", lambda _attempt: 0.0)
    with WebhookServer() as server:
        monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", server.url)
        yield server


class Daemon:
    """Ticks one sensor as Dagster's daemon does: a tick that fails leaves the cursor where it was."""

    def __init__(self, name: str, instance: dg.DagsterInstance) -> None:
        self.definitions = build_definitions()
        self.sensor = next(sensor for sensor in self.definitions.sensors or () if sensor.name == name)
        assert isinstance(self.sensor, dg.SensorDefinition)
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        """One evaluation."""
        assert isinstance(self.sensor, dg.SensorDefinition)
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            repository_def=self.definitions.get_repository_def(),
            resources={"webhook": WebhookResource()},
        ) as context:
            done = self.sensor.evaluate_tick(context)
        self.cursor = done.cursor
        return done


@pytest.fixture
def check_alerts(instance: dg.DagsterInstance, receiver: WebhookServer) -> Daemon:
    """The sensor of red checks, which has begun."""
    daemon = Daemon("alert_red_checks", instance)
    daemon.tick()
    return daemon


@pytest.fixture
def run_alerts(instance: dg.DagsterInstance, receiver: WebhookServer) -> Daemon:
    """The sensor of failed runs, which has begun."""
    daemon = Daemon("alert_failed_runs", instance)
    daemon.tick()
    return daemon


@pytest.fixture
def evaluate(instance: dg.DagsterInstance) -> Callable[..., None]:
    """Has a check of the reviews evaluated."""

    def report(partition: str | None, passed: bool, check: str = "coverage", asset: dg.AssetKey | None = None) -> None:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=asset or vector_key(REVIEWS),
            check_name=check,
            passed=passed,
            description="12 rows are pending",
            partition=partition,
        )
        event = dg.DagsterEvent(dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, "", event_specific_data=evaluation)
        instance.report_dagster_event(event, run_id=str(uuid4()))  # Dagster takes one a run

    return report


def told(receiver: WebhookServer) -> list[list[tuple[Any, ...]]]:
    """Event, check, count and partitions of every alert, message by message."""
    return [
        [(alert["event"], alert["check"], alert["count"], alert["partitions"]) for alert in body["alerts"]]
        for body in receiver.bodies
    ]


def test_a_check_that_turns_red_is_told_once_until_it_is_green_again(
    check_alerts: Daemon, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """Red, red, green, green, red: told at the first, the third and the last."""
    for passed in (True, False, False, True, True, False):
        evaluate("a:b", passed)
        check_alerts.tick()
        check_alerts.tick()

    red, green = ("check_red", "coverage", 1, ["a:b"]), ("check_green", "coverage", 1, ["a:b"])
    assert told(receiver) == [[red], [green], [red]]
    assert receiver.bodies[0]["alerts"][0]["column"] == "reviews.review_embedding"
    assert receiver.bodies[0]["alerts"][0]["description"] == "12 rows are pending"


def test_a_check_that_stays_red_is_told_again_a_day_later(
    check_alerts: Daemon, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """Not before, and then not for another day; also where the clock was set back meanwhile."""
    for hours_ago in (23, 25, -25):
        evaluate("a:b", False)
        check_alerts.tick()
        assert check_alerts.cursor is not None
        cursor = json.loads(check_alerts.cursor)
        cursor["red"]["reviews/review_embedding:coverage"]["a:b"] -= hours_ago * HOUR_S
        check_alerts.cursor = json.dumps(cursor)
    evaluate("a:b", False)
    check_alerts.tick()
    check_alerts.tick()
    assert len(receiver.bodies) == 3


def test_a_range_that_is_no_more_is_forgotten_after_a_month(
    check_alerts: Daemon, evaluate: Callable[..., None]
) -> None:
    """The cursor does not grow with every definition of ranges there ever was."""
    evaluate("a:b", False)
    check_alerts.tick()
    assert check_alerts.cursor is not None
    cursor = json.loads(check_alerts.cursor)
    cursor["red"]["reviews/review_embedding:coverage"]["a:b"] -= 31 * 24 * HOUR_S
    check_alerts.cursor = json.dumps(cursor)
    evaluate("c:d", False)
    check_alerts.tick()
    assert list(json.loads(check_alerts.cursor)["red"]["reviews/review_embedding:coverage"]) == ["c:d"]


def test_checks_that_are_red_together_are_one_message(
    check_alerts: Daemon, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """A hundred ranges and the whole table; what was red and is green again in the same tick is no news."""
    for n in range(100):
        evaluate(f"{n:03}:", False)
    evaluate(None, False, "review_embedding_coverage", table_key(REVIEWS))
    evaluate("passing:", False)
    evaluate("passing:", True)
    check_alerts.tick()

    first = [f"{n:03}:" for n in range(5)]
    assert told(receiver) == [
        [("check_red", "review_embedding_coverage", 1, []), ("check_red", "coverage", 100, first)]
    ]


def test_the_answer_for_all_ranges_of_a_run_is_not_told_beside_those_of_its_ranges(
    check_alerts: Daemon, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """It belongs to no range, so it would stay red for ever; and other code locations' checks are not ours to tell."""
    evaluate("a:b", False)
    evaluate(None, False)
    evaluate(None, False, "freshness", dg.AssetKey("somebody_s_own"))
    check_alerts.tick()
    assert told(receiver) == [[("check_red", "coverage", 1, ["a:b"])]]


def test_what_happened_before_the_sensor_began_is_not_told(
    instance: dg.DagsterInstance, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """Whoever switches alerts on is not flooded with the past."""
    evaluate("a:b", False)
    fail_run(instance)
    for name in ("alert_red_checks", "alert_failed_runs"):
        daemon = Daemon(name, instance)
        daemon.tick()
        daemon.tick()
    assert receiver.bodies == []


def test_an_event_that_is_a_moment_old_waits_for_the_next_tick(
    check_alerts: Daemon,
    evaluate: Callable[..., None],
    receiver: WebhookServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One with a smaller number may still be on its way; one of the future, by a clock since set back, is not young."""
    monkeypatch.setattr("steam_assets.defs.alerts.SETTLING_S", 60.0)
    evaluate("a:b", False)
    check_alerts.tick()
    assert receiver.bodies == []
    monkeypatch.setattr("steam_assets.defs.alerts.time.time", lambda: 1.7e9)
    check_alerts.tick()
    assert told(receiver) == [[("check_red", "coverage", 1, ["a:b"])]]


def fail_run(instance: dg.DagsterInstance, **settings: Any) -> str:
    """A run of the reviews' job that is marked failed because its process died; its id."""
    job = build_definitions().resolve_job_def(column_job_name(REVIEWS))
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, **settings)
    instance.report_run_failed(run, message=f"The process of run {run.run_id} has died.")
    return run.run_id


def test_a_run_that_was_marked_failed_is_told_once(
    run_alerts: Daemon, instance: dg.DagsterInstance, receiver: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its column, ranges, reason and page; canceled runs are what somebody wanted."""
    monkeypatch.setenv("STEAM_ASSETS_UI_URL", "http://ui")
    instance.add_dynamic_partitions(partitions_name(REVIEWS), ["~:a", "a:c", "c:d"])
    tags = {"dagster/asset_partition_range_start": "~:a", "dagster/asset_partition_range_end": "c:d"}
    run_id = fail_run(instance, tags=tags)
    canceled = instance.create_run_for_job(build_definitions().resolve_job_def(column_job_name(REVIEWS)))
    instance.report_run_canceled(canceled)
    for _ in range(3):
        run_alerts.tick()

    (body,) = receiver.bodies
    (alert,) = body["alerts"]
    assert (alert["event"], alert["column"], alert["run_id"]) == ("run_failed", "reviews.review_embedding", run_id)
    assert alert["partitions"] == ["~:a...c:d"]
    assert alert["description"] == f"The process of run {run_id} has died."
    assert alert["url"] == f"http://ui/runs/{run_id}"


def test_a_real_run_that_leaves_rows_is_told_by_both_sensors(
    run_alerts: Daemon,
    check_alerts: Daemon,
    instance: dg.DagsterInstance,
    tables: connection,
    receiver: WebhookServer,
) -> None:
    """A limit of one row leaves others pending, so a blocking check fails the run; a second run makes them green."""
    definitions = build_definitions(gpu=HashGpu(device="cpu"))
    stretch = register_ranges(instance, tables, APPLICATIONS)[:2]
    tables.rollback()
    job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
    assert run_ranges(instance, job, APPLICATIONS, stretch, {"limit": 1}).errors != ()
    for daemon in (run_alerts, check_alerts):
        daemon.tick()
    failed, red = receiver.bodies
    (alert,) = failed["alerts"]
    assert alert["column"] == "applications.description_embedding"
    assert "complete" in alert["description"]
    assert {(check["event"], check["check"], check["count"]) for check in red["alerts"]} == {
        ("check_red", "complete", 2),
        ("check_red", "coverage", 2),
    }
    assert "pending" in red["alerts"][0]["description"]

    assert run_ranges(instance, job, APPLICATIONS, stretch).errors == ()
    for daemon in (run_alerts, check_alerts):
        daemon.tick()
    assert len(receiver.bodies) == 3
    assert {(check["event"], check["check"], check["count"]) for check in receiver.bodies[2]["alerts"]} == {
        ("check_green", "complete", 2),
        ("check_green", "coverage", 2),
    }


def test_while_the_webhook_is_down_ticks_fail_in_one_line_and_everything_is_told_later(
    check_alerts: Daemon,
    run_alerts: Daemon,
    instance: dg.DagsterInstance,
    evaluate: Callable[..., None],
    receiver: WebhookServer,
) -> None:
    """Nothing is lost, and what was told once is not told again."""
    receiver.answers += [Answer(503)] * 3
    evaluate("a:b", False)
    with pytest.raises(AlertNotSent, match=r"did not take the alert in 3 tries") as raised:
        check_alerts.tick()
    assert "SECRET" not in str(raised.value)
    assert raised.value.__cause__ is None
    receiver.answers += [Answer(404)]
    fail_run(instance)
    with pytest.raises(AlertNotSent, match="refused the alert: status 404"):
        run_alerts.tick()
    receiver.bodies.clear()

    evaluate("c:d", False)
    for _ in range(2):
        check_alerts.tick()
        run_alerts.tick()
    assert told(receiver) == [
        [("check_red", "coverage", 2, ["a:b", "c:d"])],
        [("run_failed", None, 1, [])],
    ]


def test_without_an_address_the_sensors_are_off_and_say_what_to_set(
    instance: dg.DagsterInstance, evaluate: Callable[..., None]
) -> None:
    """They are there to be seen; switched on, they skip."""
    evaluate("a:b", False)
    for name in ("alert_red_checks", "alert_failed_runs"):
        daemon = Daemon(name, instance)
        assert isinstance(daemon.sensor, dg.SensorDefinition)
        assert daemon.sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert daemon.tick().skip_message == "Alerts are off. Set STEAM_ASSETS_ALERT_URL to have them sent."


def test_with_an_address_the_sensors_run_and_show_its_host_only(
    check_alerts: Daemon, evaluate: Callable[..., None], receiver: WebhookServer
) -> None:
    """Neither the sensor's tick nor its cursor nor the resource, which the UI shows, holds the rest."""
    assert isinstance(check_alerts.sensor, dg.SensorDefinition)
    assert check_alerts.sensor.default_status is dg.DefaultSensorStatus.RUNNING
    evaluate("a:b", False)
    done = check_alerts.tick()
    assert done.skip_message == "1 told to http://127.0.0.1."
    assert "SECRET" not in repr(done) + repr(WebhookResource()) + str(WebhookResource().model_dump())
    assert check_alerts.tick().skip_message == "Nothing new."


def test_an_address_that_cannot_be_fails_the_tick_and_not_the_code_location(
    instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assets can be materialized all the same."""
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "T0SECRET")
    daemon = Daemon("alert_red_checks", instance)
    with pytest.raises(Exception, match="STEAM_ASSETS_ALERT_URL holds no address") as raised:
        daemon.tick()
    assert "SECRET" not in str(raised.value)
