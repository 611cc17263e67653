"""A full disk: how it is known, and what is said about it. PostgreSQL keeps what was committed."""

import shutil
from pathlib import Path

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import parse_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import home

FULL = ("No space left on device", "Disk quota exceeded")
WAL_SEGMENT_BYTES = 16 * 2**20
"""Without room for one more PostgreSQL neither works nor recovers; where its log is full too it cannot say so."""


def is_full(directory: Path, error: OSError) -> bool:
    """Whether the server of ``directory`` failed for want of room."""
    if any(words in str(error) for words in FULL):
        return True
    return error.errno is None and shutil.disk_usage(directory).free < WAL_SEGMENT_BYTES


def room(directory: Path) -> str:
    """The room on a directory's disk: "12 MB of room"."""
    return f"{shutil.disk_usage(directory).free / 1e6:,.0f} MB of room"


def full_disk(error: psycopg2.Error) -> SteamAssetsError | None:
    """What a person can do about ``error`` when it says that the database's disk is full."""
    if not isinstance(error, errors.DiskFull):
        return None
    said = str(error).splitlines()[0]
    data = _embedded_data(error)
    where = f"in {data}, whose disk has {room(data)}" if data is not None else "of the server"
    return SteamAssetsError(
        f"There is no room for the data {where}: {said}. What was committed is kept. "
        "Make room, and run the command again."
    )


def _embedded_data(error: psycopg2.Error) -> Path | None:
    """The data directory, where the connection of ``error`` is one to the embedded server of our home."""
    data = (home() / "postgres" / "data").resolve()
    # Not its info, which knows nothing once the connection is closed.
    socket = parse_dsn(error.cursor.connection.dsn).get("host", "") if error.cursor is not None else ""
    ours = socket == str(data) or Path(socket).name.startswith("steam_assets-")
    return data if ours and data.exists() else None
