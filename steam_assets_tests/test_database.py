"""Which database is meant, and what a person is told when it cannot be had."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import (
    DatabaseAddress,
    DatabaseUnavailable,
    connect,
    dagster_url,
    embedded_database,
    find_database,
)
from steam_assets.store.embedded import EmbeddedServer

PREDECESSOR = {
    "PG_HOST": "old.example",
    "PG_PORT": "5433",
    "PG_DATABASE": "steamfull",
    "PG_APP_USER": "app",
    "PG_APP_USER_PASSWORD": "s3cret",
}
LIBPQ = {"PGHOST": "libpq.example", "PGDATABASE": "games", "PGUSER": "me", "PGPASSWORD": "s3cret"}
ALL = {
    "STEAM_ASSETS_DATABASE_URL": "postgresql://u:s3cret@ours.example/a",
    "DATABASE_URL": "postgresql://u:s3cret@common.example/b",
    **PREDECESSOR,
    **LIBPQ,
}


@pytest.mark.parametrize(
    ("url", "without", "source", "description"),
    [
        ("postgresql://u:s3cret@told/c", (), "--database-url", "database c on told, port 5432, as u"),
        (None, (), "STEAM_ASSETS_DATABASE_URL", "database a on ours.example, port 5432, as u"),
        (None, ("STEAM_ASSETS_",), "DATABASE_URL", "database b on common.example, port 5432, as u"),
        (
            *(None, ("STEAM_ASSETS_", "DATABASE_URL"), "PG_HOST PG_PORT PG_DATABASE PG_APP_USER"),
            "database steamfull on old.example, port 5433, as app",
        ),
        (
            *(None, ("STEAM_ASSETS_", "DATABASE_URL", "PG_"), "PGHOST PGDATABASE PGUSER"),
            "database games on libpq.example, port 5432, as me",
        ),
    ],
)
def test_addresses_are_looked_for_in_one_order(
    monkeypatch: pytest.MonkeyPatch, url: str | None, without: tuple[str, ...], source: str, description: str
) -> None:
    """The option wins, then our variable, DATABASE_URL, the predecessor's variables, and libpq's."""
    for name, value in ALL.items():
        if not name.startswith(without or "-"):
            monkeypatch.setenv(name, value)
    address = find_database(url)
    assert (address.source, address.description) == (source, description)
    assert "s3cret" in address.dsn
    assert "s3cret" not in repr(address) + address.description + address.source


def test_with_nothing_set_the_embedded_database_is_meant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started and its database `steam` created; user and password alone name no database."""
    monkeypatch.setenv("PGUSER", "somebody")
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    address = find_database()
    assert address.source == f"embedded in {home}"
    with closing(connect(address)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT current_database()::text, current_user::text")
        assert cursor.fetchone() == ("steam", "postgres")


def test_the_embedded_database_can_be_asked_for_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Demo and tests use it whatever the environment names."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", "postgresql://u:s3cret@ours.example/a")
    assert embedded_database().source == f"embedded in {home}"


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg2://u@h:6000/d", "postgres://u@h:6000/d", "host=h port=6000 dbname=d user=u"]
)
def test_every_usual_way_to_write_an_address_is_understood(url: str) -> None:
    """SQLAlchemy's scheme, the short scheme, and libpq's words mean the same."""
    assert find_database(url).words == {"host": "h", "port": "6000", "dbname": "d", "user": "u"}


@pytest.mark.parametrize("url", ["mysql://u:s3cret@h/d", "s3cret", "postgresql://u:s3cret@h:d/x%ZZ"])
def test_an_unreadable_address_is_refused_without_repeating_it(url: str) -> None:
    """The message names the source and the expected form, and never the password."""
    with pytest.raises(SteamAssetsError, match=r"--database-url cannot be read.*postgresql://USER") as caught:
        find_database(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_half_of_the_predecessors_variables_are_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a database could be anybody's: the error names what is missing."""
    monkeypatch.setenv("PG_HOST", "old.example")
    with pytest.raises(SteamAssetsError, match="PG_HOST is set, but not PG_DATABASE PG_APP_USER"):
        find_database()


def test_a_connection_is_ours_in_utf8_and_waits_for_locks_only_so_long(conn: connection) -> None:
    """Autocommit is off, the server sees our name, text is UTF-8, and a lock is not waited for without end."""
    assert not conn.autocommit
    with conn.cursor() as cursor:
        for name, value in (
            ("application_name", "steam_assets"),
            ("client_encoding", "UTF8"),
            ("lock_timeout", "1min"),
        ):
            cursor.execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))
            assert cursor.fetchone() == (value,)


def test_settings_in_the_address_win(database_url: str) -> None:
    """Who names an application or a time-out in the address gets it."""
    with closing(connect(find_database(f"{database_url}&application_name=nightly"))) as conn, conn.cursor() as cursor:
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("nightly",)


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unreachable_host_is_named(free_port: int) -> None:
    """Where nothing listens: one message with host, port, source and what to check."""
    address = find_database(f"postgresql://u:s3cret@127.0.0.1:{free_port}/d")
    with pytest.raises(
        DatabaseUnavailable,
        match=rf"127\.0\.0\.1, port {free_port}.*--database-url.*refused.*Check that the server runs",
    ) as caught:
        connect(address)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_host_is_named() -> None:
    """A name that no host has."""
    with pytest.raises(DatabaseUnavailable, match=r"nowhere\.invalid.*Check the host's name"):
        connect(find_database("postgresql://u@nowhere.invalid/d"))


def test_a_missing_database_is_named(database_url: str) -> None:
    """The server is there, the database is not."""
    missing = find_database(database_url).with_database("games")
    with pytest.raises(DatabaseUnavailable, match=r"database games on .*does not exist.*CREATE DATABASE"):
        connect(missing)


@pytest.fixture
def password_user(server: EmbeddedServer, database_url: str) -> Iterator[str]:
    """A user who needs a password, `right-s3cret`, and may create nothing; the name of the role."""
    hba = server.data / "pg_hba.conf"
    trusting = hba.read_text()
    hba.write_text(f"local all careful scram-sha-256\n{trusting}")
    with closing(psycopg2.connect(server.dsn("postgres"))) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute("CREATE ROLE careful LOGIN PASSWORD 'right-s3cret'")
        cursor.execute("SELECT pg_reload_conf()")
        yield "careful"
        hba.write_text(trusting)
        cursor.execute("SELECT pg_reload_conf()")
        cursor.execute("DROP ROLE careful")


def as_user(url: str, user: str, password: str) -> DatabaseAddress:
    return find_database(url.replace("postgres@", f"{user}:{password}@"))


def test_a_wrong_password_is_said_but_not_shown(database_url: str, password_user: str) -> None:
    """The message says that the password is wrong, and not what it was."""
    connect(as_user(database_url, password_user, "right-s3cret")).close()
    with pytest.raises(DatabaseUnavailable, match=r"password authentication failed.*Check user and password") as caught:
        connect(as_user(database_url, password_user, "wrong-s3cret"))
    assert "s3cret" not in str(caught.value)


def test_a_missing_password_is_said(database_url: str, password_user: str) -> None:
    """No password where one is needed: nothing is asked at the terminal."""
    with pytest.raises(DatabaseUnavailable, match=r"no password supplied.*Check user and password"):
        connect(find_database(database_url.replace("postgres@", f"{password_user}@")))


def test_dagsters_database_is_made_beside_the_data(home: Path) -> None:
    """By default Dagster's tables are in the database `dagster` of the same server, under SQLAlchemy's URL."""
    address = find_database()
    url = dagster_url(address)
    assert url.startswith("postgresql+psycopg2://")
    assert dagster_url(address) == url
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as conn:
        assert conn.execute(sqlalchemy.text("SELECT current_database()::text")).scalar() == "dagster"
    engine.dispose()


def test_dagsters_database_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """STEAM_ASSETS_DAGSTER_URL wins, and special characters survive."""
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", "postgresql://da%40g:p%2Fw@runs.example:5439/ops?sslmode=require")
    url = sqlalchemy.make_url(dagster_url(find_database("postgresql://u@data.example/steam")))
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg2", "da@g", "p/w")
    assert (url.host, url.port, url.database, dict(url.query)) == (
        *("runs.example", 5439, "ops"),
        {"sslmode": "require"},
    )


def test_without_the_right_to_create_dagsters_database_the_variable_is_named(
    database_url: str, password_user: str
) -> None:
    """Wrong configuration, exit code 2, and what to set."""
    with pytest.raises(
        SteamAssetsError, match=r"(permission denied|may not create).*STEAM_ASSETS_DAGSTER_URL"
    ) as caught:
        dagster_url(as_user(database_url, password_user, "right-s3cret"))
    assert caught.value.exit_code == 2
    assert "s3cret" not in str(caught.value)
