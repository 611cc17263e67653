"""Which database is meant, and connections to it. The embedded server is embedded.py; tables are schema.py."""

import getpass
import os
import re
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection, make_dsn, parse_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import home, make_home, setting
from steam_assets.store import embedded
from steam_assets.store.limits import set_limits
from steam_assets.store.pooler import has_own_session
from steam_assets.store.server_errors import diagnose, ends_connection

CONNECT_TIMEOUT_S = 10
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
    """The database does not answer, does not let us in, or lacks what is needed; ``is_passing``: waiting may help."""

    def __init__(self, message: str, is_passing: bool = False) -> None:
        super().__init__(message)
        self.is_passing = is_passing


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
        user = words.get("user") or system_user()
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
        return read_address(url, "--database-url")
    for name in ("STEAM_ASSETS_DATABASE_URL", "DATABASE_URL"):
        if value := setting(name):
            return read_address(value, name)
    if any(setting(name) for name in PREDECESSOR_VARIABLES):
        return _from_predecessor_variables()
    if any(setting(name) for name in LIBPQ_PLACES):
        return _from_variables(LIBPQ_VARIABLES)
    return embedded_database()


def embedded_database() -> DatabaseAddress:
    """The database ``steam`` of the embedded server, started and created as needed, whatever the environment names."""
    directory = make_home("postgres")
    if directory not in _embedded:
        server = embedded.start(directory)
        address = DatabaseAddress(server.dsn("steam"), f"embedded in {home()}")
        create_database(DatabaseAddress(server.dsn("postgres"), address.source), "steam")
        _embedded[directory] = address
    return _embedded[directory]


_embedded: dict[Path, DatabaseAddress] = {}
"""Where this process has found its embedded databases: asking the server each time takes longer than connecting."""


def connect(address: DatabaseAddress, factory: type[connection] = connection) -> connection:
    """A connection in UTF-8 with the limits of limits.py, with autocommit off; whoever opens it closes it.

    It is of the class ``factory``. An embedded server that was killed is started again. Raises DatabaseUnavailable,
    also for a pooler that gives us no session of our own, and for an encoding that does not say what its bytes mean.
    """
    try:
        return _connect(address, factory)
    except DatabaseUnavailable as error:
        directory = next((place for place, known in _embedded.items() if known.dsn == address.dsn), None)
        if directory is None or not error.is_passing:
            raise
    del _embedded[directory]
    embedded.start(directory)
    return _connect(address, factory)


def _connect(address: DatabaseAddress, factory: type[connection]) -> connection:
    try:
        conn = _open(address, factory)
        try:
            _check_encoding(address, conn)
            conn.autocommit = True
            _limit(address, conn)
            conn.autocommit = False
        except BaseException:
            conn.close()
            raise
    except (psycopg2.OperationalError, UnicodeDecodeError) as error:
        raise _unavailable(address, error) from None
    return conn


def _open(address: DatabaseAddress, factory: type[connection] = connection) -> connection:
    dsn = make_dsn(**{**DEFAULTS, **address.words})
    opened: connection = psycopg2.connect(dsn, connection_factory=factory, client_encoding="UTF8")
    return opened


def _check_encoding(address: DatabaseAddress, conn: connection) -> None:
    if conn.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise DatabaseUnavailable(
            f"{address.description} (from {address.source}) has the encoding SQL_ASCII, which keeps bytes without "
            "saying what they mean; expected UTF8. Dump it, and restore it into a database that was made with "
            "CREATE DATABASE ... TEMPLATE template0 ENCODING 'UTF8'."
        )


def _limit(address: DatabaseAddress, conn: connection) -> None:
    """Set the session's limits, once it is known that it is a session of our own."""
    given = address.words.get("options") or os.environ.get("PGOPTIONS", "")
    if set_limits(conn, given, behind_pooler=address in _with_sessions):
        return
    with closing(_open(address)) as other:
        other.autocommit = True
        if not has_own_session(conn, other):
            raise DatabaseUnavailable(
                f"{address.description} (from {address.source}) is a pooler that shares server connections between "
                "transactions, like PgBouncer with pool_mode = transaction or statement; expected one for each "
                "session, which run locks and temporary tables live in. Name a database of the pooler with "
                "pool_mode = session, or the server itself."
            )
    _with_sessions.add(address)
    set_limits(conn, given, behind_pooler=True)


_with_sessions: set[DatabaseAddress] = set()
"""Poolers that were found to give each connection a session of its own."""


def is_connection_lost(error: BaseException, conn: connection | None = None) -> bool:
    """Whether ``error`` means that the connection is gone, or could not be had for now, so that another may do better.

    ``conn`` is the one on which it was raised; an error that does not say so by itself is judged by its state.
    """
    return error.is_passing if isinstance(error, DatabaseUnavailable) else ends_connection(error, conn)


def create_database(address: DatabaseAddress, name: str) -> None:
    """Create a database beside ``address`` when it is absent; another process may be doing the same."""
    with closing(connect(address)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def read_address(text: str, source: str) -> DatabaseAddress:
    """The address that a person wrote: libpq's words or a URL, SQLAlchemy's among them; raises SteamAssetsError."""
    dsn, place, path = text.strip(), "", ""
    if url := re.fullmatch(r"(\w+)(?:\+\w+)?(://([^/?]*)([^?]*).*)", dsn, re.DOTALL):
        # SQLAlchemy names its driver in the scheme; libpq does not know that.
        scheme, rest, place, path = url.groups()
        dsn = f"{scheme}{rest}"
    try:
        if place.count("@") > 1 or "@" in path:
            # libpq would take a part of the password for the host or the database, and messages show those.
            raise psycopg2.ProgrammingError
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


def _unavailable(address: DatabaseAddress, error: Exception) -> DatabaseUnavailable:
    """What libpq said, in one sentence with what to do about it."""
    said = " ".join(str(error).split())
    known = diagnose(said)
    message = f"Cannot open {address.description} (from {address.source}): {said} {known.advice}"
    return DatabaseUnavailable(message, known.is_passing)


def system_user() -> str:
    """Who runs this process: the user that libpq takes when none is named."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
