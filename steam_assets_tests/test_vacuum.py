"""Dead row versions are counted as they are now, and VACUUM runs where it may, beside everybody else."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.vacuum import VACUUM_ROWS, DeadRows, dead_rows, vacuum, vacuum_advice
from steam_assets_tests.rows import add_columns, add_rows, embed, execute, fetch
from steam_assets_tests.servers import stranger


@pytest.fixture
def embedded(conn: connection, notes: TextColumn) -> TextColumn:
    """Thirty embedded notes, too few for autovacuum."""
    add_rows(conn, notes, {f"{n:02}": f"text {n}" for n in range(30)})
    embed(conn, notes)
    return notes


@pytest.fixture
def writer(conn: connection, notes: TextColumn) -> Iterator[str]:
    """A role that may read and write everything and owns nothing."""
    with stranger(conn) as name:
        execute(conn, f"GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO {name}")
        yield name


def test_what_was_just_written_is_counted(conn: connection, embedded: TextColumn) -> None:
    """Each vector is a new version of its row, and leaves a dead one; nobody waits for the statistics."""
    found = dead_rows(conn, embedded)
    assert (found.dead, found.live, found.share) == (30, 30, 1)
    assert (found.last_vacuum, found.last_autovacuum, found.autovacuum_is_off) == (None, None, False)


def test_an_empty_table_has_no_share(conn: connection, notes: TextColumn) -> None:
    """Nothing dead among nothing."""
    assert dead_rows(conn, notes).share == 0


def test_vacuum_frees_what_is_dead_and_leaves_the_session_as_it_was(conn: connection, embedded: TextColumn) -> None:
    """In a connection of either kind; VACUUM itself has no time limit, the session keeps its own."""
    execute(conn, "SET statement_timeout = '17min'")
    for autocommit in (False, True):
        conn.autocommit = autocommit
        assert vacuum(conn, embedded) is None
        assert conn.autocommit is autocommit
    found = dead_rows(conn, embedded)
    assert (found.dead, found.live) == (0, 30)
    assert found.last_vacuum is not None
    assert fetch(conn, "SHOW statement_timeout") == [("17min",)]


def test_partitions_are_counted_and_vacuumed_with_their_table(conn: connection) -> None:
    """The partitioned table itself holds no rows."""
    column = TextColumn(table='P "%s"', schema="odd", id="id", text="body", vector="v", id_type="bigint")
    execute(conn, "CREATE SCHEMA odd")
    execute(conn, 'CREATE TABLE odd."P ""%s""" (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id)')
    for start in (0, 10):
        execute(
            conn, f'CREATE TABLE odd.p{start} PARTITION OF odd."P ""%s""" FOR VALUES FROM ({start}) TO ({start + 10})'
        )
    add_columns(conn, column)
    add_rows(conn, column, {n: f"text {n}" for n in range(20)})
    embed(conn, column)
    found = dead_rows(conn, column)
    assert (found.dead, found.live, found.autovacuum_is_off) == (20, 20, False)
    assert vacuum(conn, column) is None
    assert dead_rows(conn, column).dead == 0

    execute(conn, "ALTER TABLE odd.p10 SET (autovacuum_enabled = 0)")
    assert dead_rows(conn, column).autovacuum_is_off


@pytest.mark.parametrize(("word", "is_off"), [("false", True), ("off", True), ("true", False)])
def test_a_table_without_autovacuum_is_known(conn: connection, notes: TextColumn, word: str, is_off: bool) -> None:
    """Somebody has to VACUUM it by hand, whatever word they wrote."""
    execute(conn, f"ALTER TABLE notes SET (autovacuum_enabled = {word}, fillfactor = 90)")
    assert dead_rows(conn, notes).autovacuum_is_off is is_off


def test_advice_comes_at_a_fifth_of_the_rows(notes: TextColumn) -> None:
    """Not for a few, in a small table or a large one."""
    few = DeadRows(VACUUM_ROWS - 1, 10, None, None, autovacuum_is_off=False)
    less = DeadRows(199_999, 1_000_000, None, None, autovacuum_is_off=False)
    assert [vacuum_advice(notes, found) for found in (few, less)] == [None, None]
    enough = DeadRows(200_000, 1_000_000, None, None, autovacuum_is_off=False)
    assert vacuum_advice(notes, enough) == (
        "notes has 200,000 dead row versions beside 1,000,000 live rows, and autovacuum has not been there yet. Run "
        "VACUUM on it, set STEAM_ASSETS_VACUUM=1 or use `steam-assets embed --vacuum`, so that the next vectors take "
        "their room."
    )
    off = DeadRows(200_000, 1_000_000, None, None, autovacuum_is_off=True)
    assert "autovacuum is off for it" in (vacuum_advice(notes, off) or "")


def test_without_the_right_it_says_so_and_goes_on(conn: connection, embedded: TextColumn, writer: str) -> None:
    """PostgreSQL would only warn; the right to maintain is enough, ownership is not needed."""
    execute(conn, f"SET ROLE {writer}")
    assert vacuum(conn, embedded) == (
        "notes was not vacuumed: this user neither owns it nor has the MAINTAIN right. Have its owner run VACUUM "
        '"public"."notes".'
    )
    assert dead_rows(conn, embedded).last_vacuum is None

    execute(conn, "RESET ROLE")
    if conn.server_version >= 170_000:
        execute(conn, f"GRANT MAINTAIN ON notes TO {writer}; SET ROLE {writer}")
        assert vacuum(conn, embedded) is None
        assert dead_rows(conn, embedded).last_vacuum is not None


def test_a_table_that_is_being_vacuumed_is_left_alone(
    conn: connection, other_conn: connection, embedded: TextColumn
) -> None:
    """The other VACUUM, or index build, does or delays the work; the session's time limit is back all the same."""
    execute(conn, "SET lock_timeout = '30ms'; SET statement_timeout = '17min'")
    with other_conn.cursor() as cur:
        cur.execute("BEGIN; LOCK TABLE notes IN SHARE UPDATE EXCLUSIVE MODE")
    assert vacuum(conn, embedded) == ("notes was not vacuumed: another VACUUM or an index build is at work on it.")
    assert dead_rows(conn, embedded).dead == 30
    assert fetch(conn, "SHOW statement_timeout") == [("17min",)]
