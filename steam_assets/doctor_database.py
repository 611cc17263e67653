"""The doctor's checks of the database: reachable, recent, with pgvector, and with the rights that embedding needs."""

from collections.abc import Iterator, Sequence

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.doctor import Check
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import setting
from steam_assets.store.catalog import find_table
from steam_assets.store.database import connect, find_database
from steam_assets.store.embeddable import check_source
from steam_assets.store.server import Server, check_pgvector, read_embedded_table, read_server

OLDEST_POSTGRESQL = 15
"""The oldest release that its makers still mend: support for 14 ended in November 2026."""


def check_database(columns: Sequence[TextColumn], database_url: str | None) -> Iterator[Check]:
    """Which database is meant, whether it lets us in, what it is, and what we may do there."""
    try:
        address = find_database(database_url)
        conn = connect(address)
    except SteamAssetsError as error:
        yield Check("database", "fail", str(error))
        return
    try:
        yield Check("database", "ok", f"{address.description} (from {address.source})")
        yield from _check_server(conn)
        for column in columns:
            yield _check_table(conn, column)
    finally:
        conn.close()


def _check_server(conn: connection) -> Iterator[Check]:
    server = read_server(conn)
    release = conn.server_version // 10_000
    old = release < OLDEST_POSTGRESQL
    fix = f"upgrade to PostgreSQL {OLDEST_POSTGRESQL} or newer; nothing older is mended by its makers" if old else ""
    yield Check("PostgreSQL", "warn" if old else "ok", server.version, fix)
    yield _check_access(server)
    yield _check_pgvector(server, conn.info.user, release)
    yield _check_rights(server, conn)
    yield _check_dagster_storage(server, conn.info.user)


def _check_pgvector(server: Server, user: str, release: int) -> Check:
    if server.pgvector:
        try:
            check_pgvector(server.pgvector)
        except SteamAssetsError as error:
            return Check("pgvector", "fail", str(error))
        return Check("pgvector", "ok", server.pgvector)
    if server.pgvector_to_install is None:
        fix = f"install it there, for example the package postgresql-{release}-pgvector"
        return Check("pgvector", "fail", "not on the server", fix)
    found = f"{server.pgvector_to_install} is on the server, not yet in this database"
    if server.may_create_extension:
        return Check("pgvector", "warn", found, "steam-assets init")
    fix = "an administrator runs: CREATE EXTENSION vector"
    return Check("pgvector", "fail", f"{found}, and {user} may not add it", fix)


def _check_rights(server: Server, conn: connection) -> Check:
    if not server.lacking_rights:
        return Check("rights", "ok", f"{conn.info.user} may use what belongs to steam-assets")
    user = sql.Identifier(conn.info.user).as_string(conn)
    grants = "; ".join(f"GRANT {right} TO {user}" for right in server.lacking_rights)
    return Check(
        "rights", "fail", f"{user} lacks {' and '.join(server.lacking_rights)}", f"an administrator runs: {grants}"
    )


def _check_access(server: Server) -> Check:
    if server.is_standby:
        fix = "name its primary; with several hosts, target_session_attrs=read-write in the address finds it"
        return Check("writing", "fail", "a hot standby, which can be read and not written", fix)
    if server.is_read_only:
        return Check("writing", "fail", "default_transaction_read_only is on", "turn it off for this database and user")
    return Check("writing", "ok", "a server that can be written")


def _check_dagster_storage(server: Server, user: str) -> Check:
    name = "Dagster storage"
    if setting("STEAM_ASSETS_DAGSTER_URL"):
        return Check(name, "ok", "named by STEAM_ASSETS_DAGSTER_URL")
    if server.has_dagster_database:
        return Check(name, "ok", "the database dagster beside this one")
    if server.may_create_databases:
        return Check(name, "ok", "the database dagster beside this one, created when it is needed")
    fix = "set STEAM_ASSETS_DAGSTER_URL, or an administrator runs: CREATE DATABASE dagster"
    return Check(name, "fail", f"no database dagster, and {user} may not create it", fix)


def _check_table(conn: connection, column: TextColumn) -> Check:
    """The table of a text column: there, complete, readable, writable, and without a trigger that slows every write."""
    name = str(column)
    found = read_embedded_table(conn, column)
    source = find_table(conn, column.schema, column.table)
    if found is None or source is None:
        return Check(name, "warn", f"no table {column.qualified_table} yet", "steam-assets init")
    try:
        notices = check_source(source, column)
    except SteamAssetsError as error:
        return Check(name, "fail", str(error))
    table, user = (
        sql.Identifier(*names).as_string(conn) for names in ((column.schema, column.table), (conn.info.user,))
    )
    if rights := found.lacking_rights:
        return Check(name, "fail", f"{user} lacks {rights}", f"its owner runs: GRANT {rights} ON {table} TO {user}")
    if found.missing_columns:
        missing = f"{table} lacks {', '.join(found.missing_columns)}"
        if found.owned:
            return Check(name, "warn", missing, "steam-assets init")
        fix = "its owner runs what `steam-assets init --dry-run` prints"
        return Check(name, "fail", f"{missing}, and {user} may not add columns", fix)
    if found.slow_triggers:
        trigger = sql.Identifier(found.slow_triggers[0]).as_string(conn)
        # Measured: 15.8K rows/s without, 4.3K with the predecessor's, which makes generated columns recompute.
        slow = f"ready, but {', '.join(found.slow_triggers)} fires before every UPDATE: writing is 3 to 4 times slower"
        fix = f"for a large fill: ALTER TABLE {table} DISABLE TRIGGER {trigger}; ENABLE it afterwards"
        return Check(name, "warn", slow, fix)
    if notices:
        return Check(name, "warn", " ".join(notices))
    return Check(name, "ok", "readable and writable")
