"""Starting and stopping PostgreSQL on a data directory, and whether it runs. Who shares it is embedded.py."""

import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.embedded_account import Account

logger = logging.getLogger(__name__)

START_LIMIT_S = 120  # recovery replays 350 to 385 MB of WAL a second, and max_wal_size is 1 GB
STOP_LIMIT_S = 60
KILLED_WITHIN_S = 10.0  # a zombie that nobody reaps stays for ever
LONGEST_PROBE_PAUSE_S = 1.0
PORT = 5432
NO_PROCESS = str(2**31 - 1)


def socket_dsn(socket: Path, database: str) -> str:
    """libpq's words for a database of the server whose socket is in that directory."""
    return make_dsn(host=str(socket), port=PORT, user="postgres", dbname=database)


def start_postmaster(data: Path, socket: Path, programs: Path, account: Account) -> None:
    """Have a server of these data answer in ``socket``; recovery is waited for.

    Raises SteamAssetsError when it does not within START_LIMIT_S, OSError with the end of its log when it ends.
    """
    deadline = time.monotonic() + START_LIMIT_S
    pause = 0.02
    while (problem := _problem(data, socket, programs, account)) is not None:
        if time.monotonic() > deadline:
            raise SteamAssetsError(
                f"The embedded database in {data} did not answer within {START_LIMIT_S} s: {problem} "
                f"Its log is {_log(data)}."
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PROBE_PAUSE_S)


def stop_command(data: Path, programs: Path) -> list[str]:
    """The command that stops the server of these data, its clients' transactions rolled back."""
    limit = str(STOP_LIMIT_S)
    return list(map(str, (programs / "pg_ctl", "stop", "-s", "-w", "-t", limit, "-m", "fast", "-D", data)))


def postmaster_runs(data: Path) -> bool:
    """Whether postmaster.pid names a living server of these data.

    A pid of a zombie or of a stranger is replaced by one that nobody has. The rest of the file stays: PostgreSQL reads
    there which shared memory the old server had, and does not start while one of its backends is still writing.
    """
    import psutil

    pid_file = data / "postmaster.pid"
    lines: list[str] = []
    try:
        lines = pid_file.read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        if process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres":
            # The command line is a backend's title when a backend of another server has got the pid.
            started = int(lines[2]) if len(lines) > 2 else 0
            if str(data) in process.cmdline() or abs(process.create_time() - started) < 5:
                return True
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False
    except (IndexError, ValueError):
        pass
    logger.warning("the embedded server was killed: its pid is a zombie's, another program's, or unreadable")
    pid_file.write_text("\n".join([NO_PROCESS, *lines[1:], ""]))
    return False


def end_programs(directories: Collection[Path], matches: Callable[[Sequence[str]], bool]) -> None:
    """End the processes of PostgreSQL's programs in those directories whose command line matches, by SIGKILL."""
    import psutil

    ended = []
    for process in psutil.process_iter(["cmdline", "exe"]):
        if Path(process.info["exe"] or "").parent in directories and matches(process.info["cmdline"] or []):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, KILLED_WITHIN_S)


def _problem(data: Path, socket: Path, programs: Path, account: Account) -> str | None:
    """Why the server does not answer yet; None when it does. Launches it when it does not run."""
    if not postmaster_runs(data):
        # The socket's lock may name a zombie too. The directory is ours alone, and the data's own lock protects them.
        (socket / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        options = f"-h '' -k {shlex.quote(str(socket))} -p {PORT} -c unix_socket_permissions=0700"
        log = _log(data)
        size = log.stat().st_size if log.exists() else 0
        limit = str(START_LIMIT_S)
        launched = account.run(
            [programs / "pg_ctl", "start", "-w", "-t", limit, "-s", "-D", data, "-l", log, "-o", options]
        )
        if launched.returncode != 0:
            said = _end_of_log(log, size)
            # Backends of a killed server that have not finished: they end by themselves.
            if "is still in use" not in said and "starting up" not in said:
                raise OSError(f"PostgreSQL does not start. {launched.stderr.strip()} Its log {log} says:\n{said}\n")
            return said
    try:
        psycopg2.connect(socket_dsn(socket, "postgres"), connect_timeout=5).close()
    except psycopg2.OperationalError as error:
        return str(error).strip()
    return None


def _end_of_log(log: Path, since: int) -> str:
    with log.open(errors="replace") as lines:
        lines.seek(since)
        return lines.read().strip()[-2000:]


def _log(data: Path) -> Path:
    return data / "server.log"
