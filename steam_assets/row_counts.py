"""Rows by state for whoever asks often: a scan of the table now and then in a thread of its own. No Dagster."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.runs import column_runs
from steam_assets.store.telemetry import rows_by_state

logger = logging.getLogger(__name__)

COUNT_EVERY_S = 60.0
REST = 10
"""Times as long as it took: a scan of 1M reviews takes some 7 s, and is not what the server is for."""


@dataclass(frozen=True)
class Counted:
    """Rows of a column by state, and when they were counted, by the monotonic clock."""

    rows: Mapping[str, int]
    at: float

    @property
    def age_s(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.at


class RowCounts:
    """The latest counts; asking for them has them counted anew when they are old, one statement at a time."""

    def __init__(
        self, connect: Callable[[], connection], columns: Sequence[TextColumn], every_s: float = COUNT_EVERY_S
    ) -> None:
        self._connect = connect
        self._columns = columns
        self._every_s = every_s
        self._found: dict[TextColumn, Counted] = {}
        self._due = 0.0
        self._counting: threading.Thread | None = None
        self._lock = threading.Lock()

    def latest(self, patience_s: float) -> Mapping[TextColumn, Counted]:
        """What was counted last, of columns that have a model; waits so long for a count that is under way."""
        with self._lock:
            if (self._counting is None or not self._counting.is_alive()) and time.monotonic() >= self._due:
                self._counting = threading.Thread(target=self._count, name="row-counts", daemon=True)
                self._counting.start()
            counting = self._counting
        if counting is not None:
            counting.join(patience_s)
        return dict(self._found)

    def _count(self) -> None:
        began = time.monotonic()
        try:
            with closing(self._connect()) as conn:
                conn.autocommit = True
                for column in self._columns:
                    target = column_runs(conn, column).target
                    if target is not None:
                        self._found[column] = Counted(rows_by_state(conn, column, target.run_id), time.monotonic())
        except (psycopg2.Error, SteamAssetsError) as error:
            logger.warning("Rows were not counted: %s", " ".join(str(error).split()))
        took = time.monotonic() - began
        self._due = time.monotonic() + max(self._every_s, REST * took)
