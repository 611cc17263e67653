"""A database for a benchmark: on the embedded server, whatever the environment names, and gone afterwards."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from steam_assets.store.database import DatabaseAddress

Connect = Callable[[], "connection"]

SETTINGS = (
    *("server_version", "shared_buffers", "max_wal_size", "fsync", "synchronous_commit", "full_page_writes"),
    *("wal_compression", "data_checksums", "autovacuum", "default_toast_compression"),
)

_numbers = count(1)


@contextmanager
def scratch_database() -> Iterator[Connect]:
    """Connections to a new database of the embedded server, which is dropped at the end."""
    from steam_assets.store.database import connect

    with scratch_address() as address:
        yield lambda: connect(address)


@contextmanager
def scratch_address() -> "Iterator[DatabaseAddress]":
    """The address of a new database of the embedded server, which is dropped at the end."""
    from psycopg2 import sql

    from steam_assets.settings import make_home
    from steam_assets.store import embedded
    from steam_assets.store.database import DatabaseAddress, connect

    server = embedded.start(make_home("postgres"))
    name = f"benchmark_{os.getpid()}_{next(_numbers)}"
    address = DatabaseAddress(server.dsn(name), "the benchmark")
    with closing(connect(address.with_database("postgres"))) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield address
        finally:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def server_settings(conn: "connection") -> dict[str, str]:
    """What the server's figures depend on, and pgvector's version where it is installed."""
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT name, current_setting(name) FROM unnest(%s) AS name", (list(SETTINGS),))
        found = dict(cursor.fetchall())
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        if version := cursor.fetchone():
            found["pgvector"] = version[0]
    return found
