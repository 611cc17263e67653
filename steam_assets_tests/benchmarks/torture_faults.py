"""What can happen to a client at work, and how it may end then. When it happens is torture_round.py's."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from random import Random
from typing import Protocol

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.store.database import DatabaseUnavailable
from steam_assets_tests.benchmarks.torture_client import Trouble
from steam_assets_tests.benchmarks.torture_server import Hangs, TorturedServer, wait_for
from steam_assets_tests.benchmarks.torture_tables import COLUMNS

DONE = frozenset({0})
INCOMPLETE = frozenset({0, 1})
BLOCKED_WITHIN_S = 1.0
LOCKED_ROWS = 3
TOUCHES = 8

CLIENTS = "SELECT pid FROM pg_stat_activity WHERE application_name = ANY(%s) AND backend_type = 'client backend'"
BLOCKED = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_blocking_pids(pid) @> ARRAY[%s])"
LOCK_ONE = sql.SQL("SELECT {id} FROM {table} WHERE {vector} IS NULL ORDER BY random() LIMIT 1 FOR UPDATE")
TOUCH_ALL = sql.SQL("UPDATE {table} SET likes = likes + 1")


class Scene(Protocol):
    """What a fault gets hold of: the server, a round's database, and the clients' names and processes."""

    @property
    def server(self) -> TorturedServer: ...

    @property
    def database(self) -> str: ...

    @property
    def dice(self) -> Random: ...

    @property
    def clients(self) -> Sequence[str]: ...

    @property
    def client_pid(self) -> int: ...


def nothing(_scene: Scene) -> None:
    """What goes wrong does so by itself: in the encoder, through editors, between two clients."""


def signal_client(number: signal.Signals) -> Callable[[Scene], None]:
    """Send the client a signal."""

    def strike(scene: Scene) -> None:
        with suppress(ProcessLookupError):
            os.kill(scene.client_pid, number)

    return strike


def signal_backend(number: signal.Signals) -> Callable[[Scene], None]:
    """Send a signal to one of the client's sessions: SIGINT cancels a statement, SIGTERM ends the session."""

    def strike(scene: Scene) -> None:
        with suppress(ProcessLookupError):
            if pids := backends(scene):
                os.kill(scene.dice.choice(pids), number)

    return strike


def restart_server(number: signal.Signals) -> Callable[[Scene], None]:
    """Kill the server or shut it down, and start it again a moment later."""

    def strike(scene: Scene) -> None:
        scene.server.signal_postmaster(number)
        scene.server.start()

    return strike


def fill_log_disk(scene: Scene) -> None:
    """Let no session of the client write to any file: PostgreSQL panics where it cannot write its log."""
    for pid in backends(scene):
        scene.server.forbid_writing(pid)


def fill_disk(scene: Scene) -> None:
    """Leave little of the disk that the tables are on."""
    scene.server.fill_disk(scene.dice.randrange(200_000))


def lock_across(scene: Scene) -> None:
    """Hold a row until the client waits for it, then ask for all others: who waits longer finds the deadlock."""
    with closing(scene.server.connect(scene.database)) as conn:
        for _ in range(LOCKED_ROWS):
            column = scene.dice.choice(COLUMNS)
            names = {name: sql.Identifier(getattr(column, name)) for name in ("table", "id", "vector")}
            patience = scene.dice.choice(["1ms", "10s"])  # ours: with the first we are the victim, or the client
            with suppress(errors.DeadlockDetected, Hangs), conn, conn.cursor() as cursor:
                cursor.execute("SET LOCAL deadlock_timeout = %s", (patience,))
                cursor.execute(LOCK_ONE.format(**names))
                wait_for(lambda: is_blocking(scene, conn), "the client waits for our row", BLOCKED_WITHIN_S)
                cursor.execute(TOUCH_ALL.format(**names))


def is_blocking(scene: Scene, conn: connection) -> bool:
    """Whether somebody waits for a lock of ``conn``."""
    with closing(scene.server.connect(scene.database)) as other, other.cursor() as cursor:
        cursor.execute(BLOCKED, (conn.info.backend_pid,))
        return cursor.fetchone() == (True,)


def touch_every_row(scene: Scene) -> None:
    """Give every row a new version, again and again: a snapshot taken before cannot update any of them."""
    with closing(scene.server.connect(scene.database)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        for _ in range(TOUCHES):
            for column in COLUMNS:
                with suppress(errors.DeadlockDetected, errors.SerializationFailure):
                    cursor.execute(TOUCH_ALL.format(table=sql.Identifier(column.table)))


def backends(scene: Scene) -> list[int]:
    """The processes of the client's sessions; none while the server is away."""
    gone = suppress(psycopg2.Error, DatabaseUnavailable)
    with gone, closing(scene.server.connect(scene.database)) as conn, conn, conn.cursor() as cursor:
        cursor.execute(CLIENTS, (list(scene.clients),))
        return [pid for (pid,) in cursor.fetchall()]
    return []


def memory_trouble(dice: Random) -> Trouble:
    """Memory for fewer texts than a pack has, and at times for fewer still."""
    return Trouble(most_texts=dice.choice([7, 40, 200]), memory_errors_share=dice.choice([0.0, 0.2]))


def lost_device(dice: Random) -> Trouble:
    """A device that fails for good after some packs."""
    return Trouble(lost_after_packs=dice.randrange(6))


def poison(dice: Random) -> Trouble:
    """Rows that nothing can be done about, in one of three ways."""
    return Trouble(poison=dice.choice(["refused", "too large", "no vector"]))


def no_trouble(_dice: Random) -> Trouble:
    """An encoder that works."""
    return Trouble()


@dataclass(frozen=True)
class Fault:
    """Something that happens to a client: ``ends`` are the exit codes that are right then, 0 where it was done already.

    ``edits`` True has somebody edit texts meanwhile, False nobody, None as the dice fall. A crash of the server may
    lose the last chunks: they are committed without waiting for the disk (store/write.py), and pending again then.
    """

    name: str
    strike: Callable[[Scene], None] = nothing
    ends: frozenset[int] = DONE
    trouble: Callable[[Random], Trouble] = no_trouble
    clients: int = 1
    edits: bool | None = None
    poison_share: float = 0.0
    small_disk: bool = False
    isolation: str = "read committed"
    crashes_server: bool = False

    @property
    def needs_hash(self) -> bool:
        """Whether it happens in the encoder, which only that of hashes is made for."""
        return self.trouble is not no_trouble


FAULTS = (
    Fault("client killed", signal_client(signal.SIGKILL), frozenset({0, -signal.SIGKILL})),
    Fault("server killed", restart_server(signal.SIGKILL), crashes_server=True),
    Fault("texts edited", edits=True),
    Fault("out of memory", trouble=memory_trouble),
    Fault("backend killed", signal_backend(signal.SIGKILL), crashes_server=True),
    Fault("two clients", clients=2),
    Fault("rows that always fail", trouble=poison, poison_share=0.004),
    Fault("disk full", fill_disk, frozenset({0, 2}), small_disk=True),
    Fault("client terminated", signal_client(signal.SIGTERM), frozenset({0, 143})),
    Fault("deadlocks", lock_across),
    Fault("server restarted fast", restart_server(signal.SIGINT)),
    Fault("client interrupted", signal_client(signal.SIGINT), frozenset({0, 130})),
    Fault("server restarted at once", restart_server(signal.SIGQUIT), crashes_server=True),
    Fault("log disk full", fill_log_disk, frozenset({0, 2, 70}), crashes_server=True),
    Fault("device lost", ends=frozenset({0, 2}), trouble=lost_device),
    Fault("session ended", signal_backend(signal.SIGTERM)),
    Fault("statement cancelled", signal_backend(signal.SIGINT), frozenset({0, 2, 70})),
    Fault("serialization failures", touch_every_row, isolation="repeatable read"),
    Fault("two clients, one killed", signal_client(signal.SIGKILL), frozenset({0, -signal.SIGKILL}), clients=2),
)
