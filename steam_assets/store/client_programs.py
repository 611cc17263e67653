"""PostgreSQL's own client programs for a database: which ones can speak with its server, and what they are told."""

import os
import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from psycopg2.extensions import connection, make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DEFAULTS, DatabaseAddress, connect
from steam_assets.store.embedded_account import RELEASE, Account, find_programs

SECRETS_WITHOUT_A_VARIABLE = ("sslpassword", "oauth_client_secret")
VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True)
class Client:
    """Programs that can speak with a database; its password is in ``environment``, never on a command line."""

    directory: Path
    dsn: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        """The arguments of a program that opens the database and never asks for a password."""
        return [str(self.directory / program), "--no-password", f"--dbname={self.dsn}", *map(str, arguments)]


def find_client(address: DatabaseAddress, program: str) -> Client:
    """The programs beside ``program`` for this database, which is opened once to see what its server needs.

    Those of the package, or where the server is newer than they or reached by TLS, those on PATH. Raises
    SteamAssetsError where neither can do it.
    """
    words = {**DEFAULTS, **address.words}
    password = words.pop("password", None)
    for secret in SECRETS_WITHOUT_A_VARIABLE:
        if secret in words:
            raise SteamAssetsError(
                f"The address has {secret}, which {program} could only be told where every user of this machine can "
                "read it. Write the address into a service file and name it with PGSERVICE."
            )
    with closing(connect(address)) as conn:
        directory = find_directory(conn, program)
        if not conn.info.ssl_in_use:
            # What we reached without TLS they do too; a program built without it refuses to hear of sslmode=require.
            words["sslmode"] = "disable"
    environment = dict(os.environ) if password is None else {**os.environ, "PGPASSWORD": password}
    return Client(directory, make_dsn(**words), environment)


def find_directory(conn: connection, program: str) -> Path:
    """Where the programs lie that can speak with the server of ``conn``."""
    server = conn.info.server_version // 10_000
    # pg_dump refuses a server newer than itself. The package's programs (0.6.0) are built without TLS.
    needed = server if program == "pg_dump" else 0
    tls = conn.info.ssl_in_use
    if not tls and needed <= RELEASE:
        return find_programs(Account())
    found = shutil.which(program)
    release = _release(found) if found else 0
    if found and release >= needed:
        return Path(found).parent
    there = f"{found} is version {release}" if found else f"there is no {program} on PATH"
    raise SteamAssetsError(
        f"The server is PostgreSQL {server}{', reached by TLS' if tls else ''}. The {program} that came with "
        f"steam-assets is version {RELEASE} without TLS, and {there}. Install PostgreSQL's client programs on PATH, "
        f"version {server} or newer (on Debian and Ubuntu the package postgresql-client-{server})."
    )


def _release(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = VERSION.search(said)
    return int(found[1]) if found else 0
