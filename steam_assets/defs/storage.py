"""Dagster's own tables: which database they are in. The tables themselves are dagster-postgres's."""

import time
from collections.abc import Mapping

from dagster._config.config_schema import UserConfigSchema
from dagster._core.events.log import EventLogEntry
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from psycopg2.extensions import connection
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError

from steam_assets.settings import read_dotenv
from steam_assets.store.dagster_database import dagster_url
from steam_assets.store.database import find_database

EVENT_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""dagster-postgres waits for a connection, but an event that was being written when the server went fails its run."""


class PatientEventLog(PostgresEventLogStorage):
    """Writes an event again when its connection was lost, some half a minute long; it may then be there twice."""

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event of a run."""
        for wait in EVENT_WAITS_S:
            try:
                return super().store_event(event)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            time.sleep(wait)
        return super().store_event(event)


class DagsterDatabase(DagsterPostgresStorage):
    """dagster-postgres on ``STEAM_ASSETS_DAGSTER_URL``, by default the database `dagster` beside the data.

    Dagster builds this from dagster.yaml in every process it starts, so all of them agree, `dagster dev` included, and
    no address or password stands in a file.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No settings: the environment decides."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> "DagsterDatabase":
        """Connect, creating the database and the tables when they are not there."""
        read_dotenv()
        storage = cls(postgres_url=dagster_url(find_database()), inst_data=inst_data)
        storage._event_log_storage = PatientEventLog(storage.postgres_url, should_autocreate_tables=False)
        storage.keep_connections()
        return storage

    def keep_connections(self) -> None:
        """Share a few connections among runs, events and schedules, each tried before it is used again.

        dagster-postgres opens one for every event otherwise: 5 of the 13 s of a small `embed` (2026-11, 2 cores).
        """
        engine = create_engine(self.postgres_url, isolation_level="AUTOCOMMIT", pool_size=2, pool_pre_ping=True)
        event.listen(engine, "connect", _commit_later)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine
        # What an instance does at its end; otherwise they would stay until they are collected.
        self._run_storage.dispose = engine.dispose  # type: ignore[method-assign]


def _commit_later(conn: connection, _record: object) -> None:
    """Do not wait for the disk at each of an event's five statements: half a second of events may go with the server.

    What a run did is in the data's own tables, and what Dagster does not know of a range is materialized again.
    """
    with conn, conn.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
