"""Sensors and the nightly schedule of a column: new rows, changed texts, a new recipe. What their ticks do is ticks.py.

``STEAM_ASSETS_AUTOMATION=1`` turns them on; else they are there, and a person turns them on in the web UI.
"""

import time
from collections.abc import Callable
from contextlib import closing

import dagster as dg
import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name
from steam_assets.defs.jobs import checks_job_name, column_job_name
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.ticks import SCANNED_ROWS, changed_texts, new_rows
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import flag_setting
from steam_assets.store.database import is_connection_lost

NEW_ROWS_EVERY_S = 5
"""Dagster's daemon makes its rounds so often; a sensor that wants no less is left out of every other round."""
CHANGED_TEXTS_EVERY_S = 60
CHECKS_AT = "0 3 * * *"

TickOf = Callable[[dg.DagsterInstance, connection, TextColumn, str | None, float], dg.SensorResult]


def is_on() -> bool:
    """Whether automation runs from the start."""
    return flag_setting("STEAM_ASSETS_AUTOMATION")


def build_sensors(column: TextColumn) -> list[dg.SensorDefinition]:
    """The sensors of a column."""
    return [build_new_rows_sensor(column), build_changed_texts_sensor(column)]


def build_new_rows_sensor(column: TextColumn) -> dg.SensorDefinition:
    """Rows without a vector get one."""

    @dg.sensor(
        name=f"{op_name(column)}_new_rows",
        job_name=column_job_name(column),
        minimum_interval_seconds=NEW_ROWS_EVERY_S - 1,
        default_status=dg.DefaultSensorStatus.RUNNING if is_on() else dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Looks every {NEW_ROWS_EVERY_S} s for rows of {column.qualified_table} that wait for their first vector, "
            "keeps one id range ahead of the newest row, and asks for runs over the ranges that need one, once no "
            "more rows are coming in (30 s at most). A look takes milliseconds with the index that `steam-assets "
            "init` builds; without it the table is read, at most a twentieth of the time."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
        return tick(new_rows, context, database, column)

    return sensor


def build_changed_texts_sensor(column: TextColumn) -> dg.SensorDefinition:
    """Rows whose text or recipe is another by now get another vector."""

    @dg.sensor(
        name=f"{op_name(column)}_changed_texts",
        job_name=column_job_name(column),
        minimum_interval_seconds=CHANGED_TEXTS_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING if is_on() else dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Reads every {CHANGED_TEXTS_EVERY_S} s the next {SCANNED_ROWS:,} texts of {column.qualified_table}, 2 s "
            "of the server's time at most, round and round, and asks for runs over the ranges where a text has "
            "changed since it was embedded: a million rows take 50 minutes a round. When the column has got "
            "another model or recipe, it asks once for a backfill of every range, with low priority."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
        return tick(changed_texts, context, database, column)

    return sensor


def build_nightly_checks(column: TextColumn) -> dg.ScheduleDefinition:
    """The whole column is checked every night."""
    return dg.ScheduleDefinition(
        name=f"{checks_job_name(column)}_nightly",
        job_name=checks_job_name(column),
        cron_schedule=CHECKS_AT,
        default_status=dg.DefaultScheduleStatus.RUNNING if is_on() else dg.DefaultScheduleStatus.STOPPED,
        description=f"Reads back at 03:00 UTC what is true of all of {column}: one scan of the table.",
    )


def tick(
    look: TickOf, context: dg.SensorEvaluationContext, database: DatabaseResource, column: TextColumn
) -> dg.SensorResult | dg.SkipReason:
    """One look at the database; one line where there is none, or it is not ready."""
    try:
        with closing(database.connect()) as conn:
            conn.autocommit = True
            return look(context.instance, conn, column, context.cursor, time.time())
    except SteamAssetsError as error:
        return dg.SkipReason(" ".join(str(error).split()))
    except psycopg2.Error as error:
        if not is_connection_lost(error):
            raise
        return dg.SkipReason(f"The database went away; the next tick tries again: {str(error).partition(chr(10))[0]}")
