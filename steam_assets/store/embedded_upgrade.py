"""Data of PostgreSQL 16 become data of 18, by pg_upgrade: a copy beside the old ones, checked, then put in their place.

The old data are kept. Killed at any instant, the next start begins anew or does the last rename:

    data.upgrading       what is being made; thrown away when it is found
    data.upgraded        complete and checked; thrown away while ``data`` is there, else it becomes ``data``
    data.postgresql-16   the old data, renamed when the new ones were complete
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from steam_assets.errors import SteamAssetsError
from steam_assets.store.embedded_account import OLD_RELEASE, RELEASE, Account, find_programs, find_socket_directory
from steam_assets.store.embedded_cluster import initdb
from steam_assets.store.embedded_postmaster import (
    end_programs,
    postmaster_runs,
    socket_dsn,
    start_postmaster,
    stop_command,
)

logger = logging.getLogger(__name__)

RELATIONS = """
    SELECT count(*)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


@dataclass(frozen=True)
class Contents:
    """What must be the same after an upgrade: the number of relations of each database; and whether pages have sums."""

    relations: dict[str, int]
    checksums: bool


def finish_upgrade(data: Path) -> None:
    """Do the last rename of an upgrade that was killed before it."""
    upgraded = _beside(data, "upgraded")
    if upgraded.exists() and not data.exists():
        upgraded.rename(data)
        _say_done(data)


def upgrade(data: Path, account: Account) -> None:
    """Make ``data``, of release OLD_RELEASE, data of RELEASE; the old ones are kept beside.

    Raises SteamAssetsError, the old data untouched, where there is no room, a server runs on them, or pg_upgrade says
    that it cannot be done.
    """
    logger.warning("upgrading the embedded database in %s from PostgreSQL %s to %s", data, OLD_RELEASE, RELEASE)
    place, upgraded = _beside(data, "upgrading"), _beside(data, "upgraded")
    _clear(place, account)
    if upgraded.exists():
        shutil.rmtree(upgraded)
    if postmaster_runs(data):
        raise SteamAssetsError(
            f"{data} is to be upgraded from PostgreSQL {OLD_RELEASE} to {RELEASE}, but a server of release "
            f"{OLD_RELEASE} runs on it. Stop the program that uses it, and try again."
        )
    _check_room(data)
    place.mkdir(mode=0o755)
    try:
        _make_upgraded(data, place, account)
        (place / "data").rename(upgraded)
    finally:
        _clear(place, account)
    data.rename(_kept_name(data))
    # Both renames are on the disk in this order, or a power cut leaves neither.
    _sync(data.parent)
    upgraded.rename(data)
    _sync(data.parent)
    _say_done(data)


def _make_upgraded(data: Path, place: Path, account: Account) -> None:
    new, work = place / "data", place / "work"
    work.mkdir(mode=0o700)
    account.own(work)
    old_programs, programs = find_programs(account, OLD_RELEASE), find_programs(account)
    socket = find_socket_directory(work, account)
    # Also after a crash: pg_upgrade takes only what was shut down cleanly.
    with _running(data, socket, old_programs, account):
        before = read_contents(socket)
    # 18 turns checksums on by default, and pg_upgrade wants both alike. Encoding and locales it takes over itself.
    sums = "--data-checksums" if before.checksums else "--no-data-checksums"
    initdb(new, programs, account, sums)
    _run(
        account,
        work,
        *(programs / "pg_upgrade", "--old-datadir", data, "--new-datadir", new, "--username=postgres"),
        *("--old-bindir", old_programs, "--new-bindir", programs, "--socketdir", socket),
    )
    if not before.checksums:
        _run(account, work, programs / "pg_checksums", "--enable", "--pgdata", new)
    with _running(new, socket, programs, account):
        after = read_contents(socket)
    if after.relations != before.relations:
        raise SteamAssetsError(
            f"After the upgrade to PostgreSQL {RELEASE} {data} would hold {after.relations} relations by database, not "
            f"{before.relations}. The old data are untouched. Dump them with the programs of release {OLD_RELEASE}."
        )


@contextlib.contextmanager
def _running(data: Path, socket: Path, programs: Path, account: Account) -> Iterator[None]:
    start_postmaster(data, socket, programs, account)
    try:
        yield
    finally:
        _run(account, Path("/"), *stop_command(data, programs))


def read_contents(socket: Path) -> Contents:
    """What the server in ``socket`` has."""
    relations = {}
    with closing(psycopg2.connect(socket_dsn(socket, "postgres"))) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datallowconn")
        databases = [name for (name,) in cursor.fetchall()]
        cursor.execute("SELECT current_setting('data_checksums') = 'on'")
        checksums = cursor.fetchone() == (True,)
    for name in databases:
        with closing(psycopg2.connect(socket_dsn(socket, name))) as conn, conn.cursor() as cursor:
            cursor.execute(RELATIONS)
            relations[name] = (cursor.fetchone() or (0,))[0]
    return Contents(relations, checksums)


def _run(account: Account, directory: Path, *command: str | Path) -> None:
    ended = account.run(command, directory)
    if ended.returncode != 0:
        # pg_upgrade tells on standard output what is wrong.
        said = " ".join(f"{ended.stdout} {ended.stderr}".split())[-2000:]
        raise SteamAssetsError(
            f"The upgrade to PostgreSQL {RELEASE} failed, and the old data are untouched. "
            f"{Path(command[0]).name} says: {said}"
        )


def _clear(place: Path, account: Account) -> None:
    """End what a killed upgrade left running, its programs and its servers, and remove what it made."""
    if not place.exists():
        return
    work = place / "work"
    socket = find_socket_directory(work, account) if work.exists() else work

    def is_orphan(words: Sequence[str]) -> bool:
        return any(mark in word for mark in (str(place), str(socket)) for word in words)

    end_programs([find_programs(account), find_programs(account, OLD_RELEASE)], is_orphan)
    for leftover in {socket, place}:
        shutil.rmtree(leftover, ignore_errors=leftover != place)


def _check_room(data: Path) -> None:
    needed = sum(path.lstat().st_size for path in data.rglob("*"))
    free = shutil.disk_usage(data.parent).free
    if free < needed:
        raise SteamAssetsError(
            f"Upgrading {data} to PostgreSQL {RELEASE} needs {needed / 1e9:.1f} GB beside it, and {data.parent} has "
            f"{free / 1e9:.1f} GB of room. Make room, or move the directory to a larger disk."
        )


def _kept_name(data: Path) -> Path:
    first = _beside(data, f"postgresql-{OLD_RELEASE}")
    names = (first, *(first.with_name(f"{first.name}-{number}") for number in range(2, 100)))
    return next(name for name in names if not name.exists())


def _beside(data: Path, what: str) -> Path:
    return data.with_name(f"{data.name}.{what}")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say_done(data: Path) -> None:
    logger.warning(
        "the embedded database in %s is of PostgreSQL %s now; the old data are kept beside it in %s*, settings made in "
        "their postgresql.conf are there only, and they may be deleted when nobody misses anything",
        *(data, RELEASE, f"{data.name}.postgresql-{OLD_RELEASE}"),
    )
