"""Which database is meant, and what a person is told when it cannot be had."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg2 import sql
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection, make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import (
    DatabaseAddress,
    DatabaseUnavailable,
    connect,
    embedded_database,
    find_database,
)
from steam_assets.store.embedded import EmbeddedServer
from steam_assets_tests.databases import database_url_of, execute_on
from steam_assets_tests.servers import EVERY_SPECIAL_CHARACTER, free_port, user_with_password

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


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d",
        "s3cret",
        "postgresql://u:s3cret@h:d/x%ZZ",
        "postgresql://u:pw%s3cret@h/d",
        "postgresql://u:pw/s3cret@h/d",
        "postgresql://u:pw@s3cret@h/d",
        "host=h dbname=d password=pw s3cret",
        "host=h dbname=d password='pw's3cret'",
    ],
)
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


def test_a_connection_is_ours_in_utf8(conn: connection) -> None:
    """Autocommit is off, no transaction is open, the server sees our name, and text is UTF-8."""
    assert not conn.autocommit
    assert conn.info.transaction_status == TRANSACTION_STATUS_IDLE
    for name, value in (("application_name", "steam_assets"), ("client_encoding", "UTF8")):
        with conn.cursor() as cursor:
            cursor.execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))
            assert cursor.fetchone() == (value,)


def test_settings_in_the_address_win(database_url: str) -> None:
    """Who names an application or a time-out in the address gets it."""
    with closing(connect(find_database(f"{database_url}&application_name=nightly"))) as conn, conn.cursor() as cursor:
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("nightly",)


def test_an_unreachable_host_is_named() -> None:
    """Where nothing listens: one message with host, port, source and what to check."""
    port = free_port()
    address = find_database(f"postgresql://u:s3cret@127.0.0.1:{port}/d")
    with pytest.raises(
        DatabaseUnavailable,
        match=rf"127\.0\.0\.1, port {port}.*--database-url.*refused.*Check that the server runs",
    ) as caught:
        connect(address)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_host_is_named() -> None:
    """A name that no host has."""
    with pytest.raises(DatabaseUnavailable, match=r"nowhere\.invalid.*Check the host's name"):
        connect(find_database("postgresql://u@nowhere.invalid/d"))


def test_what_passes_is_told_from_what_does_not(server: EmbeddedServer, database_url: str) -> None:
    """Who waits for a server asks `is_passing`: a server that is down or full may come back, a wrong name will not."""
    with user_with_password(server, "single", "right") as user:
        execute_on(server, f"ALTER ROLE {user} CONNECTION LIMIT 1")
        as_single = database_url.replace("postgres@", f"{user}:right@")
        found = {
            "nothing listens": whether_passing(f"postgresql://u@127.0.0.1:{free_port()}/d"),
            "no socket": whether_passing("postgresql://u@/d?host=/nowhere"),
            "no host": whether_passing("postgresql://u@nowhere.invalid/d"),
            "no database": whether_passing(database_url.replace("/test_", "/no_test_")),
            "no role": whether_passing(database_url.replace("postgres@", "nobody@")),
            "wrong password": whether_passing(as_single.replace("right", "wrong")),
        }
        with closing(connect(find_database(as_single))):
            found["too many"] = whether_passing(as_single)
    assert [what for what, passing in found.items() if passing] == ["nothing listens", "no socket", "too many"]


def whether_passing(url: str) -> bool:
    """What the refusal of an address says of itself."""
    with pytest.raises(DatabaseUnavailable) as caught:
        connect(find_database(url))
    return caught.value.is_passing


def test_a_missing_database_is_named(database_url: str) -> None:
    """The server is there, the database is not."""
    missing = find_database(database_url).with_database("games")
    with pytest.raises(DatabaseUnavailable, match=r"database games on .*does not exist.*CREATE DATABASE"):
        connect(missing)


@pytest.fixture
def password_user(server: EmbeddedServer) -> Iterator[str]:
    """A user who needs a password, `right-s3cret`, and may create nothing; the name of the role."""
    with user_with_password(server, "careful", "right-s3cret") as name:
        yield name


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


@pytest.mark.parametrize("way", ["url", "words", "PG_APP_USER_PASSWORD", "PGPASSWORD"])
def test_any_password_gets_in_and_no_message_shows_it(
    way: str,
    server: EmbeddedServer,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In a URL, in libpq's words and in variables: the right one opens, the wrong one is not told."""
    place = {"host": str(server.socket), "dbname": find_database(database_url).words["dbname"], "user": "odd"}
    with user_with_password(server, "odd", EVERY_SPECIAL_CHARACTER), caplog.at_level("DEBUG"):
        for password, opens in ((EVERY_SPECIAL_CHARACTER, True), (f"{EVERY_SPECIAL_CHARACTER}!", False)):
            url = None
            if way == "url":
                url = f"postgresql://odd:{quote(password, safe='')}@/{place['dbname']}?host={place['host']}"
            elif way == "words":
                url = make_dsn(**place, password=password)
            elif way == "PG_APP_USER_PASSWORD":
                for name, word in (("PG_HOST", "host"), ("PG_DATABASE", "dbname"), ("PG_APP_USER", "user")):
                    monkeypatch.setenv(name, place[word])
                monkeypatch.setenv(way, password)
            else:
                url = make_dsn(**place)
                monkeypatch.setenv(way, password)
            address = find_database(url)
            said = f"{address} {address!r} {address.description} {address.source}"
            if opens:
                connect(address).close()
            else:
                with pytest.raises(DatabaseUnavailable, match="password authentication failed") as caught:
                    connect(address)
                said += f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__suppress_context__}"
            assert not [
                form for form in (password, quote(password), repr(password)[1:-1]) if form in said + caplog.text
            ]


def test_bytes_that_say_nothing_are_refused(server: EmbeddedServer) -> None:
    """A database in SQL_ASCII holds any bytes; what they mean is a guess, and the message says how to mend it."""
    create = "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
    execute_on(server, create)
    try:
        with pytest.raises(DatabaseUnavailable, match=r"database ascii .*SQL_ASCII.*expected UTF8.*ENCODING 'UTF8'"):
            connect(find_database(database_url_of(server, "ascii")))
    finally:
        execute_on(server, "DROP DATABASE ascii")
