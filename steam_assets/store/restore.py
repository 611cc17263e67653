"""A dump's file back into a database: all of it in one transaction, or nothing. Dumping is dump.py."""

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.client_programs import Client, find_client
from steam_assets.store.database import DatabaseAddress, connect
from steam_assets.store.dump import one_line

CHUNK_BYTES = 1 << 18
NAMED_TABLES = 5
TRANSACTION_TIMEOUT_SINCE = 17
TRANSACTION_TIMEOUT = b"SET transaction_timeout = 0;\n"
PREAMBLE_BYTES = 4096
LONGEST_MESSAGE = 1000

# Owners and rights are those of whoever restores: the roles of the old server need not exist on the new one.
RESTORE = ("--file=-", "--no-owner", "--no-privileges")
TABLE = re.compile(r"^-- Name: (.*); Type: TABLE; Schema: (.*); Owner: ", re.MULTILINE)
COPIED = re.compile(rb"COPY (\d+)$")

NOT_A_DUMP = "Expected a file that `steam-assets db dump` or `pg_dump --format=custom` wrote"
UNREADABLE = (
    ("unsupported version", "It was written by a newer pg_dump; put the client programs of that version on PATH"),
    ("text format dump", "It is SQL text; run it with `steam-assets db psql --single-transaction --file FILE`"),
    ("valid archive", NOT_A_DUMP),
    ("too short", NOT_A_DUMP),
    ("end of file", "It was cut short; copy it again, or make another with `steam-assets db dump`"),
)


@dataclass(frozen=True)
class RestoreReport:
    """What was restored, and what it took."""

    tables: int
    rows: int
    seconds: float


def restore_database(
    address: DatabaseAddress, file: Path, progress: Callable[[int], None] | None = None
) -> RestoreReport:
    """Restore ``file`` into the database; ``progress`` is told the bytes of SQL that have been sent so far.

    Raises SteamAssetsError, with nothing restored, where a table of the file is there already, where the file is
    broken or no dump, and with the server's own words when it refuses something.
    """
    began = time.monotonic()
    client = find_client(address, "psql")
    contents = _run(client, "pg_restore", "--list", file)
    tables = _tables(_run(client, "pg_restore", "--schema-only", *RESTORE, file))
    with closing(connect(address)) as conn:
        release = conn.info.server_version // 10_000
        _refuse_existing(conn, tables)
    with tempfile.TemporaryFile() as wanted:
        # The extension's comment may be set by its owner only, who need not be we.
        wanted.writelines(line for line in contents.splitlines(keepends=True) if b" COMMENT - EXTENSION " not in line)
        wanted.seek(0)
        with closing(_sql_of(client, file, wanted, release)) as script:
            rows = _execute(client, script, progress or (lambda sent: None))
    return RestoreReport(len(tables), rows, time.monotonic() - began)


def _run(client: Client, program: str, *arguments: str | Path) -> bytes:
    """What pg_restore says about a file; it opens no database."""
    ended = subprocess.run(
        [str(client.directory / program), *map(str, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if ended.returncode != 0:
        raise _unreadable(Path(arguments[-1]), ended.stderr)
    return ended.stdout


def _tables(script: bytes) -> list[tuple[str, str]]:
    """Schema and name of the tables that a script creates."""
    return [(schema, name) for name, schema in TABLE.findall(script.decode(errors="replace"))]


def _refuse_existing(conn: connection, tables: Sequence[tuple[str, str]]) -> None:
    there = []
    with conn.cursor() as cursor:
        for names in tables:
            cursor.execute("SELECT to_regclass(%s)::text", (sql.Identifier(*names).as_string(conn),))
            there += [name for (name,) in cursor.fetchall() if name is not None]
    if there:
        more = f" and {len(there) - NAMED_TABLES} more" if len(there) > NAMED_TABLES else ""
        raise SteamAssetsError(
            f"Database {conn.info.dbname} has {', '.join(there[:NAMED_TABLES])}{more} already, and restoring replaces "
            "nothing. Name an empty database with --database-url, or for an embedded one an empty directory with "
            "STEAM_ASSETS_HOME."
        )


def _sql_of(client: Client, file: Path, wanted: IO[bytes], release: int) -> Generator[bytes]:
    """The file as SQL for a server of that release; raises when the file ends before its end."""
    command = [str(client.directory / "pg_restore"), *RESTORE, "--use-list=/dev/stdin", str(file)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=wanted, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        try:
            preamble = process.stdout.read(PREAMBLE_BYTES)
            # pg_restore 17 and newer set it for every server, and older ones do not know it.
            yield preamble.replace(TRANSACTION_TIMEOUT, b"") if release < TRANSACTION_TIMEOUT_SINCE else preamble
            yield from iter(partial(process.stdout.read, CHUNK_BYTES), b"")
            if process.wait() != 0:
                said.seek(0)
                raise _unreadable(file, said.read())
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _execute(client: Client, script: Iterable[bytes], progress: Callable[[int], None]) -> int:
    """Run a script in one transaction; gives the rows it copied."""
    command = client.command("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-")
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=client.environment, stdin=subprocess.PIPE, stdout=printed, stderr=said)
        assert process.stdin is not None
        sent = 0
        try:
            with suppress(BrokenPipeError):  # psql has stopped at an error, which it tells
                # Our own BEGIN and COMMIT: psql's --single-transaction commits what it has got when we are killed.
                for part in chain((b"BEGIN;\n",), script, (b"ANALYZE;\nCOMMIT;\n",)):
                    process.stdin.write(part)
                    sent += len(part)
                    progress(sent)
                process.stdin.close()
            failed = process.wait() != 0
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if failed:
            said.seek(0)
            raise SteamAssetsError(f"Nothing was restored: {one_line(said.read())[:LONGEST_MESSAGE]}")
        printed.seek(0)
        return sum(int(copied[1]) for line in printed if (copied := COPIED.match(line)))


def _unreadable(file: Path, said: bytes) -> SteamAssetsError:
    words = one_line(said)
    advice = next((advice for word, advice in UNREADABLE if word in words), NOT_A_DUMP)
    return SteamAssetsError(f"{file} cannot be restored, and nothing was: {words}. {advice}.")
