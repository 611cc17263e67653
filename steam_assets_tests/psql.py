"""Scripts as a database administrator runs them: with psql."""

import subprocess

from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import find_programs, server_account


def run_psql(server: EmbeddedServer, url: str, *arguments: str, script: str | None = None) -> str:
    """Run a script, or the file that the arguments name, until its first error; what was printed."""
    program = find_programs(server_account(server.directory)) / "psql"
    command = [str(program), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *arguments, url]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
