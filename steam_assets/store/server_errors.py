"""What libpq and PostgreSQL say when something is wrong: whether it passes, whether the connection is gone, what to do.

A connection that cannot be opened comes without an SQLSTATE, so it is known by its words, which are English unless the
server's lc_messages says otherwise; words that nobody knows are not waited for.
"""

from dataclasses import dataclass

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.store.embedded_room import full_disk


@dataclass(frozen=True)
class Diagnosis:
    """What to do about a connection that was refused, and whether waiting may be enough."""

    words: tuple[str, ...]
    advice: str
    is_passing: bool = False


WAIT = "It may be there again in a moment."
UNKNOWN = Diagnosis((), "Check the address.")
# The first that fits.
DIAGNOSES = (
    Diagnosis(("password authentication failed", "no password supplied"), "Check user and password."),
    Diagnosis(
        ("connection requires a valid client certificate", "certificate required"),
        "Name yours and its key with sslcert and sslkey, or PGSSLCERT and PGSSLKEY.",
    ),
    Diagnosis(
        ("certificate verify failed",),
        "Check sslrootcert (PGSSLROOTCERT): the certificate of the authority that signed the server's.",
    ),
    Diagnosis(
        ("server certificate for",),
        "Give the host the name that its certificate has, or check less with sslmode=verify-ca.",
    ),
    Diagnosis(
        ("does not support SSL",),
        "Turn TLS on at the server (ssl = on), or do without it: sslmode=prefer, or PGSSLMODE=prefer.",
    ),
    Diagnosis(("SSL required",), "Ask for TLS: sslmode=require, or PGSSLMODE=require."),
    Diagnosis(
        ("no pg_hba.conf entry", "authentication failed"), "Check the user, sslmode, and the server's pg_hba.conf."
    ),
    Diagnosis(("FATAL: database", "no such database"), "Create it with CREATE DATABASE, or correct the name."),
    Diagnosis(("FATAL: role", "no such user"), "Check the user."),
    Diagnosis(("Hot standby mode is disabled",), "Name a server that answers queries."),
    Diagnosis(("too many", "remaining connection slots"), "Close other clients, or raise max_connections.", True),
    Diagnosis(
        ("no more connections allowed", "query_wait_timeout"),
        "Close other clients, or raise max_client_conn and default_pool_size of the pooler.",
        True,
    ),
    Diagnosis(("starting up", "shutting down", "in recovery mode", "not yet accepting connections"), WAIT, True),
    Diagnosis(("terminating connection", "server_login_retry", "server login has been failing"), WAIT, True),
    Diagnosis(("closed the connection unexpectedly", "connection has been closed unexpectedly"), WAIT, True),
    Diagnosis(("Connection reset", "Broken pipe", "SSL SYSCALL error", "could not receive data"), WAIT, True),
    # The second is what a session says that begins on a full disk.
    Diagnosis(("No space left on device", "could not write init file"), "Make room on the disk of the server."),
    Diagnosis(("Temporary failure in name resolution",), "Check the network.", True),
    Diagnosis(("could not translate host name",), "Check the host's name."),
    Diagnosis(
        ("Connection refused", "No such file or directory Is the server running", "unreachable", "No route to host"),
        "Check that the server runs there.",
        True,
    ),
    Diagnosis(("timeout", "Connection timed out"), "Check that the server runs there.", True),
)


def diagnose(said: str) -> Diagnosis:
    """What is known of a message, its white space made single spaces."""
    return next((known for known in DIAGNOSES if any(words in said for words in known.words)), UNKNOWN)


# With these the server itself ends a session: it shuts down, has crashed, is not ready, the database is dropped, or a
# time-out of the session is over. Class 08 is the connection's, but for 08P01, which a bad COPY gets on a living one.
ENDS_SESSION = (
    "57P01",
    "57P02",
    "57P03",
    "57P04",
    "57P05",
    "25P03",
    "25P04",
    "08000",
    "08001",
    "08003",
    "08004",
    "08006",
)
# Errors of libpq and psycopg2 themselves have no SQLSTATE.
LOST_WORDS = (
    "closed the connection unexpectedly",
    "connection has been closed unexpectedly",
    "connection already closed",
    "connection not open",
    "no connection to the server",
    "invalid socket",  # what psycopg2 2.9.13 makes of a session that ended in mid-COPY
    "SSL SYSCALL error",
    "could not receive data from server",
    "could not send data to server",
    "Connection reset",
)


def ends_connection(error: BaseException, conn: connection | None = None) -> bool:
    """Whether ``error`` says that its connection is gone, or ``conn``, on which it was raised, is."""
    if not isinstance(error, psycopg2.Error):
        return False
    if conn is not None and conn.closed:
        return True
    if error.pgcode is not None:
        return error.pgcode in ENDS_SESSION
    return any(words in str(error) for words in LOST_WORDS)


# What a person can mend: the class of the error, words of it where the class says too little, and the way.
MENDABLE: tuple[tuple[type[psycopg2.Error], str, str], ...] = (
    (
        errors.InsufficientPrivilege,
        "row-level security",
        "Rows that are hidden would make every count untrue. Connect as the table's owner, or have an administrator "
        "run ALTER ROLE ... BYPASSRLS.",
    ),
    (
        errors.InsufficientPrivilege,
        "",
        "infra/sql/roles.sql says which role may do what; `steam-assets doctor` names the rights that `embed` lacks.",
    ),
    (
        errors.ReadOnlySqlTransaction,
        "",
        "This is a standby, or default_transaction_read_only is on. Name a server that can be written with "
        "--database-url.",
    ),
    (errors.LockNotAvailable, "", "Another session holds a lock. Run the command again when it has ended."),
    (
        errors.QueryCanceled,
        "statement timeout",
        "If it should have taken that long, allow it: ?options=-c%20statement_timeout%3D0 at the end of the address.",
    ),
)


def explain(error: BaseException) -> str | None:
    """What the server said, and what a person can do about it; None where it is likely a bug of ours."""
    if not isinstance(error, psycopg2.Error):
        return None
    said = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
    if ends_connection(error):
        return f"The database went away: {said}. Run the command again when it is back; what was committed is there."
    if (full := full_disk(error)) is not None:
        return str(full)
    if error.pgcode is None and (known := diagnose(said)) is not UNKNOWN:
        return f"It cannot be opened: {said}. {known.advice}"
    for kind, words, advice in MENDABLE:
        if isinstance(error, kind) and words in str(error):
            return f"The database says: {said}. {advice}"
    return None
