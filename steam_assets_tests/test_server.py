"""What a server and its administrator allow: what is missing is named, with what gives it."""

from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DatabaseAddress, DatabaseUnavailable, connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.files import find_files
from steam_assets.store.load import load_file
from steam_assets.store.server import check_pgvector, check_rights, check_writable
from steam_assets.store.status import column_status
from steam_assets_tests.databases import database_url_of, wait_until
from steam_assets_tests.rows import NUMBERED, add_rows, embed, execute, fetch, make_table, state_of
from steam_assets_tests.servers import role, standby


def test_missing_rights_are_named_with_what_grants_them(conn: connection, database_url: str) -> None:
    """From no right at all, what the message says is enough to do everything; each right taken back is named again."""
    make_table(conn, NUMBERED, "bigint")
    database = conn.info.dbname
    execute(conn, f"REVOKE ALL ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO PUBLIC")
    with role(conn, database_url, "writer") as theirs:
        with pytest.raises(SteamAssetsError, match=r"writer may not fill numbered\.body_vector.*GRANT") as caught:
            check_rights(theirs, NUMBERED)
        theirs.rollback()
        execute(conn, str(caught.value).partition("an administrator runs: ")[2])
        with theirs:
            check_rights(theirs, NUMBERED)
        add_rows(conn, NUMBERED, {1: "one", 2: "two"})
        assert embed(theirs, NUMBERED).written == 2
        assert state_of(theirs, NUMBERED).embedded == 2

        for right, on in (
            ("SELECT (body)", "numbered"),
            ("SELECT (xmin)", "numbered"),
            ("UPDATE (body_vector_source_md5)", "numbered"),
            ("TEMPORARY", f"DATABASE {database}"),
            ("INSERT", "public.embedding_failures"),
        ):
            execute(conn, f"REVOKE {right} ON {on} FROM writer")
            with pytest.raises(SteamAssetsError) as caught:
                check_rights(theirs, NUMBERED)
            theirs.rollback()
            assert f"{right} ON {on}".replace("public.", "") in unquoted(str(caught.value))
            execute(conn, f"GRANT {right} ON {on} TO writer")


def unquoted(text: str) -> str:
    """A message without quotation marks and the schema that every table is in."""
    return text.replace('"', "").replace("public.", "")


def test_a_database_that_only_reads_is_refused_where_something_is_to_be_written(
    conn: connection, database_url: str, tmp_path: Path
) -> None:
    """By its setting here; the message names the setting, and status still works."""
    make_table(conn, NUMBERED, "bigint")
    execute(conn, f"ALTER DATABASE {conn.info.dbname} SET default_transaction_read_only = on")
    (tmp_path / "genres.csv").write_text("id,name\n1,Action\n")
    (genres,) = find_files([tmp_path])
    with closing(connect(find_database(database_url))) as theirs:
        for write in (lambda: check_writable(theirs), lambda: load_file(theirs, genres)):
            with pytest.raises(DatabaseUnavailable, match=r"default_transaction_read_only.*--database-url") as caught:
                write()
            assert not caught.value.is_passing
            theirs.rollback()
        with theirs:
            assert column_status(theirs, NUMBERED) is not None


def test_a_hot_standby_is_refused_where_something_is_to_be_written(
    server: EmbeddedServer, conn: connection, home: Path
) -> None:
    """It can be asked for the status, and its primary is what a writer needs."""
    make_table(conn, NUMBERED, "bigint")
    with standby(server, home / "standby") as follower:
        address = find_database(database_url_of(follower, conn.info.dbname))
        wait_until(lambda: answers(address), "the standby answers")
        with closing(connect(address)) as theirs:
            with theirs:
                assert column_status(theirs, NUMBERED) is not None
            with pytest.raises(DatabaseUnavailable, match=r"hot standby.*primary.*target_session_attrs=read-write"):
                check_writable(theirs)


def answers(address: DatabaseAddress) -> bool:
    """Whether connections are let in; while a server starts it says that this passes."""
    try:
        connect(address).close()
    except DatabaseUnavailable as error:
        if not error.is_passing:
            raise
        return False
    return True


def test_an_old_pgvector_is_refused(conn: connection) -> None:
    """halfvec came with 0.7; a version is compared by its numbers."""
    execute(conn, "UPDATE pg_extension SET extversion = '0.6.2' WHERE extname = 'vector'")
    ((old,),) = fetch(conn, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    with pytest.raises(DatabaseUnavailable, match=r"pgvector is 0\.6\.2.*expected 0\.7 or newer.*ALTER EXTENSION"):
        check_pgvector(str(old))
    for recent in ("0.7.0", "0.8.5", "0.10.0", "1.0", "0.7.0-dev"):
        check_pgvector(recent)
