"""Which database is meant, and connections to it. The embedded server is embedded.py; tables are schema.py."""

import getpass
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection, make_dsn, parse_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import home, make_home, setting
from steam_assets.store import embedded

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 60
DEFAULTS = {
    "application_name": "steam_assets",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    # A server that vanished without closing its connection is noticed after 30 + 3 * 10 s, not after two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

PREDECESSOR_VARIABLES = {
    "PG_HOST": "host",
    "PG_PORT": "port",
    "PG_DATABASE": "dbname",
    "PG_APP_USER": "user",
    "PG_APP_USER_PASSWORD": "password",
}
LIBPQ_VARIABLES = {
    "PGSERVICE": "service",
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
}
# These say that libpq's own settings are meant; PGUSER or PGPASSWORD alone do not name a database.
LIBPQ_PLACES = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE")


class DatabaseUnavailable(SteamAssetsError):
    """The database does not answer, does not let us in, or lacks what is needed."""


@dataclass(frozen=True)
class DatabaseAddress:
    """A database and who named it, ``source``; ``dsn`` is libpq's words and may hold a password: repr leaves it out."""

    dsn: str = field(repr=False)
    source: str

    @property
    def words(self) -> dict[str, str]:
        """The address taken apart: host, port, dbname, user, password and so on, where given."""
        return parse_dsn(self.dsn)

    @property
    def description(self) -> str:
        """Database, host, port and user as a person says them; never the password."""
        words = self.words
        if "service" in words and "host" not in words:
            return f"service {words['service']}"
        user = words.get("user") or _system_user()
        host = words.get("host") or words.get("hostaddr") or "the local socket"
        return f"database {words.get('dbname') or user} on {host}, port {words.get('port', '5432')}, as {user}"

    def with_database(self, name: str) -> "DatabaseAddress":
        """Another database of the same server, with the same rights."""
        return DatabaseAddress(make_dsn(self.dsn, dbname=name), self.source)


def find_database(url: str | None = None) -> DatabaseAddress:
    """The database that is meant: ``url``, or what the environment names, or the embedded one, started when needed.

    The order is STEAM_ASSETS_DATABASE_URL, DATABASE_URL, the predecessor's PG_HOST PG_PORT PG_DATABASE PG_APP_USER
    PG_APP_USER_PASSWORD, libpq's PG* variables, embedded. An address is libpq's words or a URL; SQLAlchemy's
    postgresql+psycopg2:// is understood. Raises SteamAssetsError for an address that cannot be read.
    """
    if url:
        return _address(url, "--database-url")
    for name in ("STEAM_ASSETS_DATABASE_URL", "DATABASE_URL"):
        if value := setting(name):
            return _address(value, name)
    if any(setting(name) for name in PREDECESSOR_VARIABLES):
        return _from_predecessor_variables()
    if any(setting(name) for name in LIBPQ_PLACES):
        return _from_variables(LIBPQ_VARIABLES)
    return embedded_database()


def embedded_database() -> DatabaseAddress:
    """The database ``steam`` of the embedded server, started and created as needed, whatever the environment names."""
    server = embedded.start(make_home("postgres"))
    address = DatabaseAddress(server.dsn("steam"), f"embedded in {home()}")
    _create_database(DatabaseAddress(server.dsn("postgres"), address.source), "steam")
    return address


def connect(address: DatabaseAddress) -> connection:
    """A connection in UTF-8, with autocommit off; whoever opens it closes it.

    A lock that another session holds is waited for LOCK_TIMEOUT_S. Raises DatabaseUnavailable.
    """
    try:
        conn: connection = psycopg2.connect(make_dsn(**{**DEFAULTS, **address.words}), client_encoding="UTF8")
    except (psycopg2.OperationalError, UnicodeDecodeError) as error:
        raise _unavailable(address, error) from None
    # SET, not the start-up option: poolers such as PgBouncer refuse options they do not know.
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute("SET lock_timeout = %s", (f"{LOCK_TIMEOUT_S}s",))
    conn.autocommit = False
    return conn


def dagster_url(address: DatabaseAddress) -> str:
    """SQLAlchemy's URL for Dagster's own tables: STEAM_ASSETS_DAGSTER_URL, or the database ``dagster`` beside the data.

    That database is created when it is absent. Raises SteamAssetsError where we may not.
    """
    if value := setting("STEAM_ASSETS_DAGSTER_URL"):
        return _sqlalchemy_url(_address(value, "STEAM_ASSETS_DAGSTER_URL"))
    beside = address.with_database("dagster")
    try:
        _create_database(address, "dagster")
        _check_dagster_can_work(beside)
    except (errors.InsufficientPrivilege, DatabaseUnavailable) as error:
        raise SteamAssetsError(
            f"Dagster's runs and events cannot be kept in {beside.description}: {str(error).strip()}. "
            "Set STEAM_ASSETS_DAGSTER_URL to a database for them, or have the administrator create this one."
        ) from None
    return _sqlalchemy_url(beside)


def _check_dagster_can_work(address: DatabaseAddress) -> None:
    """Raise where Dagster's tables are absent and this user may not create them."""
    with closing(connect(address)) as conn, conn.cursor() as cursor:
        cursor.execute(
            """
            SELECT to_regclass('runs') IS NOT NULL
                OR COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)
            """
        )
        if cursor.fetchone() != (True,):
            raise DatabaseUnavailable("this user may not create tables in it")


def _create_database(address: DatabaseAddress, name: str) -> None:
    """Create a database beside ``address`` when it is absent; another process may be doing the same."""
    with closing(connect(address)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _address(text: str, source: str) -> DatabaseAddress:
    # SQLAlchemy names its driver in the scheme; libpq does not know that.
    scheme, separator, rest = text.strip().partition("://")
    dsn = f"{scheme.partition('+')[0]}{separator}{rest}" if separator else text.strip()
    try:
        return DatabaseAddress(make_dsn(**parse_dsn(dsn)), source)
    except psycopg2.Error:
        # The parser's message repeats parts of what it read, and that may be the password.
        raise SteamAssetsError(
            f"The database address from {source} cannot be read. Expected "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded, "
            "or host=HOST dbname=DATABASE user=USER."
        ) from None


def _from_predecessor_variables() -> DatabaseAddress:
    missing = [name for name in ("PG_HOST", "PG_DATABASE", "PG_APP_USER") if not setting(name)]
    if missing:
        found = [name for name in PREDECESSOR_VARIABLES if setting(name)]
        raise SteamAssetsError(
            f"{' '.join(found)} is set, but not {' '.join(missing)}. Set what is missing, or unset the others, "
            "or name the database with --database-url."
        )
    return _from_variables(PREDECESSOR_VARIABLES)


def _from_variables(variables: Mapping[str, str]) -> DatabaseAddress:
    found = {name: os.environ[name] for name in variables if setting(name)}
    source = " ".join(name for name in found if "PASSWORD" not in name)
    return DatabaseAddress(make_dsn(**{variables[name]: value for name, value in found.items()}), source)


def _sqlalchemy_url(address: DatabaseAddress) -> str:
    words = address.words
    place = ""
    if user := words.pop("user", ""):
        place = quote(user, safe="")
        if password := words.pop("password", ""):
            place += f":{quote(password, safe='')}"
        place += "@"
    if not words.get("host", "/").startswith("/") and "," not in words["host"]:
        host = words.pop("host")
        place += f"[{host}]" if ":" in host else host
        if port := words.pop("port", ""):
            place += f":{port}"
    database = quote(words.pop("dbname", ""), safe="")
    return f"postgresql+psycopg2://{place}/{database}" + (f"?{urlencode(words)}" if words else "")


def _unavailable(address: DatabaseAddress, error: Exception) -> DatabaseUnavailable:
    """What libpq said, in one sentence with what to do about it."""
    said = " ".join(str(error).split())
    if password := address.words.get("password"):
        said = said.replace(password, "***")
    advice = next((advice for words, advice in ADVICE if any(word in said for word in words)), "Check the address.")
    return DatabaseUnavailable(f"Cannot open {address.description} (from {address.source}): {said} {advice}")


ADVICE = (
    (("password authentication failed", "no password supplied"), "Check user and password."),
    (("no pg_hba.conf entry", "authentication failed"), "Check the user, sslmode, and the server's pg_hba.conf."),
    (("too many", "remaining connection slots"), "Close other clients, or raise max_connections."),
    (("FATAL: database",), "Create it with CREATE DATABASE, or correct the name."),
    (("FATAL: role",), "Check the user."),
    (("could not translate host name",), "Check the host's name."),
    (("Connection refused", "timeout", "No such file", "unreachable"), "Check that the server runs there."),
)


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
