"""Dead row versions that writing vectors leaves behind: how many there are, what to do about them, and VACUUM."""

from dataclasses import dataclass
from datetime import datetime

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.limits import unlimited

VACUUM_SHARE = 0.2
"""Re-embedding without VACUUM doubles what vectors take on disk; with one for every 20 % of the rows it is 20 % more
(research/postgres.md 2). Autovacuum begins there too."""

VACUUM_ROWS = 1_000
"""Fewer dead versions are nothing to speak of."""

# A partitioned table has no rows of its own; its partitions are counted.
DEAD_ROWS = """
    SELECT coalesce(sum(s.n_dead_tup), 0)::bigint,
           coalesce(sum(s.n_live_tup), 0)::bigint,
           max(s.last_vacuum),
           max(s.last_autovacuum),
           NOT current_setting('autovacuum')::boolean OR coalesce(bool_or(NOT option_value::boolean), false)
    FROM pg_stat_user_tables AS s
    JOIN pg_class AS c ON c.oid = s.relid
    LEFT JOIN pg_options_to_table(c.reloptions) ON option_name = 'autovacuum_enabled'
    WHERE s.relid IN (SELECT %(table)s::regclass UNION SELECT relid FROM pg_partition_tree(%(table)s::regclass))
"""

# Without the right, VACUUM skips the table with a warning in the server's language, and succeeds.
MAY_VACUUM = """
    SELECT pg_has_role(d.datdba, 'USAGE') OR {owner}
    FROM pg_class AS c
    JOIN pg_database AS d ON d.datname = current_database()
    WHERE c.oid = %s::regclass
"""
OWNER = "pg_has_role(c.relowner, 'USAGE')"
MAINTAINER = "has_table_privilege(c.oid, 'MAINTAIN')"
MAINTAIN_SINCE = 170_000
FLUSH_SINCE = 150_000


@dataclass(frozen=True)
class DeadRows:
    """Row versions of a table as the server's statistics have them; a dead one waits for VACUUM to free its room."""

    dead: int
    live: int
    last_vacuum: datetime | None
    last_autovacuum: datetime | None
    autovacuum_is_off: bool

    @property
    def share(self) -> float:
        """Dead versions per live row: 1 after every row was written once."""
        return self.dead / max(self.live, 1)


def dead_rows(conn: connection, column: TextColumn) -> DeadRows:
    """What the column's table holds now, this session's own writes included. Not inside a transaction."""
    _flush_statistics(conn)
    with conn, conn.cursor() as cur:
        cur.execute(DEAD_ROWS, {"table": _table(conn, column)})
        found = cur.fetchone()
    assert found is not None
    return DeadRows(*found)


def vacuum_advice(column: TextColumn, found: DeadRows) -> str | None:
    """What to do about a table's dead row versions; None while they are few."""
    if found.dead < VACUUM_ROWS or found.share < VACUUM_SHARE:
        return None
    autovacuum = "autovacuum is off for it" if found.autovacuum_is_off else "autovacuum has not been there yet"
    return (
        f"{column.qualified_table} has {found.dead:,} dead row versions beside {found.live:,} live rows, and "
        f"{autovacuum}. Run VACUUM on it, set STEAM_ASSETS_VACUUM=1 or use `steam-assets embed --vacuum`, so that the "
        "next vectors take their room."
    )


def vacuum(conn: connection, column: TextColumn) -> str | None:
    """VACUUM the column's table, beside readers and writers; say why where that was not possible.

    Not inside a transaction. The room is free for new rows; it does not go back to the file system.
    """
    _flush_statistics(conn)  # what is told later would be added to what VACUUM counts
    table = _table(conn, column)
    with conn, conn.cursor() as cur:
        owner = MAINTAINER if conn.server_version >= MAINTAIN_SINCE else OWNER
        cur.execute(MAY_VACUUM.format(owner=owner), (table,))
        if cur.fetchone() != (True,):
            return (
                f"{column.qualified_table} was not vacuumed: this user neither owns it nor has the MAINTAIN right. "
                f"Have its owner run VACUUM {table}."
            )
    autocommit = conn.autocommit
    conn.autocommit = True
    try:
        # An HNSW index makes it slow: 22.6 s for 1,000 dead rows (research/postgres.md 3).
        with unlimited(conn), conn.cursor() as cur:
            try:
                cur.execute(f"VACUUM {table}")
            except errors.LockNotAvailable:
                return f"{column.qualified_table} was not vacuumed: another VACUUM or an index build is at work on it."
    finally:
        conn.autocommit = autocommit
    return None


def _flush_statistics(conn: connection) -> None:
    """Have this session's writes counted now: they reach the statistics up to a second after their transaction."""
    if conn.server_version >= FLUSH_SINCE:
        with conn, conn.cursor() as cur:
            cur.execute("SELECT pg_stat_force_next_flush()")


def _table(conn: connection, column: TextColumn) -> str:
    return sql.Identifier(column.schema, column.table).as_string(conn)
