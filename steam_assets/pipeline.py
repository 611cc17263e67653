"""Encoder and store meet: a range is written while it is encoded, and a restarted server waited for. No Dagster."""

import logging
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg2

from steam_assets.attempt import Attempt, RangeReport, library_versions, record_range
from steam_assets.encoder.encoder import first_line
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.id_range import IdRange
from steam_assets.store.database import DatabaseUnavailable, is_connection_lost
from steam_assets.store.embedded_room import full_disk
from steam_assets.store.runs import RangeStatus, start_range
from steam_assets.store.session import RunSession
from steam_assets.store.write import write_batches
from steam_assets.stream import EmbeddingStream

logger = logging.getLogger(__name__)

LOSSES_WITHOUT_PROGRESS = 5
"""Lost connections in a row without a commit between them: waiting for the server does not help."""


def fill_range(
    session: RunSession,
    stream: EmbeddingStream,
    id_range: IdRange,
    monitor: SystemMonitor,
    log: Callable[[str], None],
    limit: int | None = None,
) -> RangeReport:
    """Encode and write a range's pending rows, at most ``limit``, and record the attempt whatever becomes of it.

    Commits as it goes, and goes on from the last commit when the server restarts. An error or an interrupt leaves what
    was committed, and a record that says failed or aborted. Raises RangeTaken when another run fills the range.
    """
    column, encoder = stream.column, stream.encoder
    with session.range_lock(column, id_range.key):
        range_id = session.transact(
            lambda conn: start_range(
                conn,
                column,
                stream.run.run_id,
                id_range.key,
                session.dagster_run_id,
                stream.device,
                encoder.backend.dtype,
                library_versions(),
            )
        )
        attempt = Attempt(stream, id_range, monitor, log)
        try:
            with monitor:
                _fill(session, attempt, limit)
        except BaseException as error:
            # An interrupt is no Exception; it too has to leave a record. Where the connection is gone there can be
            # none, and the range stays "running" until somebody sees that its lock is free.
            with suppress(psycopg2.Error):
                session.conn.rollback()
                status: RangeStatus = "failed" if isinstance(error, Exception) else "aborted"
                said = f"{type(error).__name__}: {error}"
                with session.conn as conn:
                    record_range(conn, range_id, status, attempt.report(), stream, said)
            raise
        done = attempt.report()
        session.transact(lambda conn: record_range(conn, range_id, "done", done, stream))
    return done


def _fill(session: RunSession, attempt: Attempt, limit: int | None) -> None:
    """Read, encode and write until nothing of the range is pending, over again where a connection is lost."""
    stream, id_range, counts = attempt.stream, attempt.id_range, attempt.counts
    losses, handled = 0, -1
    while True:
        remaining = None if limit is None else limit - counts.handled
        try:
            stream.keep_device()
            with stream.stages.writing(), closing(stream.batches(id_range, remaining)) as batches:
                write_batches(
                    session.conn,
                    stream.column,
                    stream.run.run_id,
                    id_range,
                    batches,
                    attempt.on_commit,
                    counts,
                    stream.options.max_failed_percent / 100,
                )
        except (psycopg2.Error, DatabaseUnavailable) as error:
            found = real_error(error)
            losses = 1 if counts.handled > handled else losses + 1
            if isinstance(found, psycopg2.Error) and (full := full_disk(found)) is not None:
                raise full from found
            if not is_connection_lost(found) or losses > LOSSES_WITHOUT_PROGRESS:
                raise found from None
            handled = counts.handled
            lost = f"The database went away ({first_line(found)}); waiting for it."
            logger.warning("%s %s: %s", stream.column, id_range.key, lost)
            attempt.monitor.note(lost)
            session.reconnect()
        else:
            return


def real_error(error: Exception) -> Exception:
    """Why a connection died: `with conn` raises an InterfaceError of its rollback over the error that says it."""
    if isinstance(error, psycopg2.InterfaceError) and isinstance(error.__context__, psycopg2.Error):
        return error.__context__
    return error
