"""Sensors and schedules as the code location has them: visible, off unless wanted, quiet when there is no database."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import vector_key
from steam_assets.defs.automation import build_changed_texts_sensor, build_new_rows_sensor, build_sensors
from steam_assets.defs.jobs import checks_job_name
from steam_assets.defs.resources import DatabaseResource
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.rows import execute

RUNNING, STOPPED = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED


def tick(
    sensor: dg.SensorDefinition,
    instance: dg.DagsterInstance,
    cursor: str | None = None,
    database: DatabaseResource | None = None,
) -> SensorExecutionData:
    """One evaluation, as Dagster's daemon has it done."""
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"database": database or DatabaseResource()}
    )
    return sensor.evaluate_tick(context)


@pytest.mark.parametrize(
    ("setting", "status", "schedule_status"),
    [
        (None, STOPPED, dg.DefaultScheduleStatus.STOPPED),
        ("0", STOPPED, dg.DefaultScheduleStatus.STOPPED),
        ("1", RUNNING, dg.DefaultScheduleStatus.RUNNING),
    ],
)
def test_automation_is_off_until_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    setting: str | None,
    status: dg.DefaultSensorStatus,
    schedule_status: dg.DefaultScheduleStatus,
) -> None:
    """One variable for all of it; without it a person turns on in the web UI what is wanted."""
    if setting is not None:
        monkeypatch.setenv("STEAM_ASSETS_AUTOMATION", setting)
    repository = build_definitions().get_repository_def()
    for column in COLUMNS:
        name = "_".join(vector_key(column).path)
        for ending in ("new_rows", "changed_texts"):
            sensor = repository.get_sensor_def(f"{name}_{ending}")
            assert sensor.default_status is status
            assert "s " in (sensor.description or "")
        schedule = repository.get_schedule_def(f"check_{name}_nightly")
        assert schedule.default_status is schedule_status
        assert schedule.job_name == checks_job_name(column)


def test_a_value_that_is_neither_on_nor_off_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than taken for off."""
    monkeypatch.setenv("STEAM_ASSETS_AUTOMATION", "maybe")
    with pytest.raises(SteamAssetsError, match="STEAM_ASSETS_AUTOMATION is 'maybe'; expected 0 or 1"):
        build_definitions()


def test_dagster_evaluates_both_sensors_and_keeps_what_they_remember(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tables: connection
) -> None:
    """The requests are for the column's job; what one tick remembers the next one knows."""
    new, changed = build_sensors(APPLICATIONS)
    first = tick(new, instance)
    assert first.skip_message is not None
    second = tick(new, instance, first.cursor)
    (request,) = second.run_requests or ()
    assert request.tags["dagster/asset_partition_range_start"] == "~:000000000040"
    assert new.job_name == changed.job_name == "embed_applications_description_embedding"
    noticed = tick(changed, instance)
    assert tick(changed, instance, noticed.cursor).skip_message is not None


@pytest.mark.parametrize("build", [build_new_rows_sensor, build_changed_texts_sensor])
def test_before_init_a_tick_names_the_command(
    build: Callable[..., dg.SensorDefinition],
    instance: dg.DagsterInstance,
    named_database: str,
    conn: connection,
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a database with nothing in it, and in one whose columns have no model."""
    assert "Run `steam-assets init`" in (tick(build(APPLICATIONS), instance).skip_message or "")
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", empty_database_url)
    assert "Run `steam-assets init`" in (tick(build(APPLICATIONS), instance).skip_message or "")


@pytest.mark.parametrize("build", [build_new_rows_sensor, build_changed_texts_sensor])
def test_a_tick_while_the_database_is_away_is_one_line_and_forgets_nothing(
    build: Callable[..., dg.SensorDefinition],
    instance: dg.DagsterInstance,
    tables: connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next tick tries again, from the same place."""
    with monkeypatch.context() as away:
        away.setenv("STEAM_ASSETS_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/steam")
        found = tick(build(APPLICATIONS), instance, '{"rows": 3}')
    assert found.cursor == '{"rows": 3}'
    assert found.skip_message is not None
    assert "127.0.0.1" in found.skip_message
    assert "secret" not in found.skip_message
    assert "\n" not in found.skip_message


class RestartingServer(DatabaseResource):
    """A server that ends every session a moment after it was opened."""

    def connect(self) -> connection:
        """A session that has been ended, and does not know it."""
        conn = super().connect()
        with closing(super().connect()) as administrator, administrator.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10_000)", (conn.info.backend_pid,))
        return conn


def test_a_session_that_ends_in_mid_tick_is_one_line_too(instance: dg.DagsterInstance, tables: connection) -> None:
    """A server that restarts says so to whoever asks it something."""
    found = tick(build_new_rows_sensor(APPLICATIONS), instance, database=RestartingServer())
    assert found.skip_message is not None
    assert found.skip_message.startswith("The database went away")
    assert "\n" not in found.skip_message


def test_any_other_error_of_the_database_is_a_failed_tick(instance: dg.DagsterInstance, tables: connection) -> None:
    """Nobody would look for it among the ticks that had nothing to do."""
    execute(tables, "ALTER TABLE applications RENAME COLUMN description_embedding TO gone")
    with pytest.raises(Exception, match="description_embedding"):
        tick(build_new_rows_sensor(APPLICATIONS), instance)


def test_a_column_is_fresh_for_as_long_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week where it says nothing; the description says what is meant."""
    for setting, hours in ((None, 168), ("24", 24)):
        if setting is not None:
            monkeypatch.setenv("STEAM_ASSETS_FRESH_WITHIN_HOURS", setting)
        spec = build_definitions().resolve_asset_graph().get(vector_key(APPLICATIONS))
        assert spec.freshness_policy == dg.FreshnessPolicy.time_window(timedelta(hours=hours))
        assert f"in the last {hours} hours" in (spec.description or "")


def test_the_instance_watches_over_freshness(instance: dg.DagsterInstance) -> None:
    """Dagster's daemon for it runs unless dagster.yaml says otherwise."""
    assert "FRESHNESS_DAEMON" in instance.get_required_daemon_types()
