"""TLS as libpq has it: asked for in the address or the environment, checked as far as was asked, refused in words."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from psycopg2.extensions import connection, make_dsn

from steam_assets.store.dagster_database import sqlalchemy_url
from steam_assets.store.database import DatabaseUnavailable, connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import server_account
from steam_assets_tests.rows import fetch
from steam_assets_tests.servers import (
    Certificate,
    Pgbouncer,
    make_certificate,
    needs_openssl,
    needs_pgbouncer,
    pgbouncer,
)

# The wheel's PostgreSQL is built without TLS; to a client PgBouncer's end of it is the same.
pytestmark = [needs_pgbouncer, needs_openssl]


@pytest.fixture(scope="module")
def certificates(test_directory: Path) -> Mapping[str, Certificate]:
    """One for the host `localhost`, one for a client, and an authority that signed neither."""
    directory = test_directory / "certificates"
    directory.mkdir(mode=0o755)
    authority = make_certificate(directory, "authority")
    return {
        "localhost": make_certificate(directory, "localhost", authority),
        "postgres": make_certificate(directory, "postgres", authority),
        "stranger": make_certificate(directory, "stranger"),
    }


@contextmanager
def behind_tls(server: EmbeddedServer, home: Path, own: Certificate, **settings: object) -> Iterator[Pgbouncer]:
    """The server behind an end that insists on TLS and shows the certificate ``own``."""
    key = home / "pooler.key"  # each user reads private keys of its own only
    key.write_bytes(own.key.read_bytes())
    server_account(server.directory).own(key)
    settings = {"client_tls_sslmode": "require", "client_tls_ca_file": own.authority, **settings}
    with pgbouncer(
        server, home / "pooler", client_tls_cert_file=own.certificate, client_tls_key_file=key, **settings
    ) as pooler:
        yield pooler


def url(pooler: Pgbouncer, database: connection, host: str = "localhost", **words: str) -> str:
    """The end as ``host``, wherever that name leads on this machine, with libpq's words."""
    settings = "".join(f"&{name}={value}" for name, value in words.items())
    return f"{pooler.url(database.info.dbname, host)}?hostaddr=127.0.0.1{settings}"


@pytest.mark.parametrize("way", ["url", "words", "environment"])
def test_a_certificate_is_checked_against_the_right_authority(
    way: str,
    server: EmbeddedServer,
    conn: connection,
    home: Path,
    certificates: Mapping[str, Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """verify-full passes with the authority that signed it, however it is named, and in Dagster's address too."""
    own = certificates["localhost"]
    checked = {"sslmode": "verify-full", "sslrootcert": str(own.authority)}
    with behind_tls(server, home, own) as pooler:
        named = url(pooler, conn, **checked if way == "url" else {})
        if way == "words":
            named = make_dsn(find_database(url(pooler, conn)).dsn, **checked)
        if way == "environment":
            for word, value in checked.items():
                monkeypatch.setenv(f"PG{word.upper()}", value)
        address = find_database(named)
        with closing(connect(address)) as through:
            assert through.info.ssl_in_use
            assert fetch(through, "SELECT 1") == [(1,)]
        engine = sqlalchemy.create_engine(sqlalchemy_url(address))
        with engine.connect() as dagsters:
            used = dagsters.connection.driver_connection
            assert isinstance(used, connection)
            assert used.info.ssl_in_use
        engine.dispose()


@pytest.mark.parametrize(
    ("host", "words", "message"),
    [
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "stranger"}, r"verify failed.*Check sslrootcert"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "nowhere"}, r"does not exist.*sslmode"),
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "localhost"}, r"does not match.*name that its cert"),
        ("localhost", {"sslmode": "disable"}, r"SSL required.*sslmode=require"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    host: str,
    words: dict[str, str],
    message: str,
    server: EmbeddedServer,
    conn: connection,
    home: Path,
    certificates: Mapping[str, Certificate],
) -> None:
    """A strange authority, a file that is not there, another host's certificate, no TLS at all: never waited for."""
    if authority := words.get("sslrootcert"):
        known = certificates.get(authority)
        words = {**words, "sslrootcert": str(known.authority if known else home / authority)}
    with (
        behind_tls(server, home, certificates["localhost"]) as pooler,
        pytest.raises(DatabaseUnavailable, match=message) as caught,
    ):
        connect(find_database(url(pooler, conn, host, **words)))
    assert not caught.value.is_passing


def test_a_client_shows_a_certificate_of_its_own(
    server: EmbeddedServer,
    conn: connection,
    home: Path,
    certificates: Mapping[str, Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sslcert and sslkey, here by libpq's variables; without them the refusal says what to name."""
    mine = certificates["postgres"]
    with behind_tls(server, home, certificates["localhost"], client_tls_sslmode="verify-full") as pooler:
        address = find_database(url(pooler, conn, sslmode="require"))
        with pytest.raises(DatabaseUnavailable, match=r"sslcert and sslkey") as caught:
            connect(address)
        assert not caught.value.is_passing
        monkeypatch.setenv("PGSSLCERT", str(mine.certificate))
        monkeypatch.setenv("PGSSLKEY", str(mine.key))
        connect(address).close()


def test_a_server_without_tls_is_not_trusted_with_a_password_that_asks_for_it(
    server: EmbeddedServer, conn: connection, home: Path
) -> None:
    """sslmode=require and an end that has none: said, with both ways out."""
    with (
        pgbouncer(server, home / "pooler") as pooler,
        pytest.raises(DatabaseUnavailable, match=r"does not support SSL.*ssl = on.*sslmode=prefer"),
    ):
        connect(find_database(url(pooler, conn, sslmode="require")))
