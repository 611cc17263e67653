"""Every command ends with one message and a documented exit code, whatever happens to it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import sqlalchemy

from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.exits import raise_if_interrupted, run_and_exit


class Incomplete(SteamAssetsError):
    """An error with an exit code of its own."""

    exit_code = EXIT_INCOMPLETE


def finish() -> None:
    """Do nothing."""


def fail_as_documented() -> None:
    """Raise an error that a person can mend."""
    raise SteamAssetsError("The moon is full. Wait a day.")


def fail_with_own_code() -> None:
    """Raise an error that says which exit code it is."""
    raise Incomplete("Half of it is done. Run it again.")


def use_wrongly() -> None:
    """Raise what click raises for a wrong option."""
    raise click.UsageError("No such option: --frob")


def be_interrupted() -> None:
    """Get what Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)


def be_terminated() -> None:
    """Get what an init system sends."""
    os.kill(os.getpid(), signal.SIGTERM)


def be_terminated_unheard() -> None:
    """Have it swallowed, as Dagster does at the end of a run, and look whether there was something."""
    raise_if_interrupted()
    handler = signal.signal(signal.SIGTERM, lambda number, frame: None)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, handler)
    raise_if_interrupted()


def be_declined() -> None:
    """Raise what click raises for Ctrl-C at a question."""
    raise click.Abort


def stumble() -> None:
    """Run into a bug."""
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (finish, 0, ""),
        (fail_as_documented, 2, "Error: The moon is full. Wait a day.\n"),
        (fail_with_own_code, 1, "Error: Half of it is done. Run it again.\n"),
        (be_interrupted, 130, "Interrupted.\n"),
        (be_declined, 130, "Interrupted.\n"),
        (be_terminated, 143, "Terminated.\n"),
        (be_terminated_unheard, 143, "Terminated.\n"),
    ],
)
def test_a_command_ends_with_its_documented_code_and_one_message(
    command: Callable[[], None], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts read the code, people the line; nobody reads a traceback."""
    with pytest.raises(SystemExit) as ended:
        run_and_exit(command)
    assert ended.value.code == code
    assert capsys.readouterr() == ("", message)


def test_wrong_usage_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what was wrong."""
    with pytest.raises(SystemExit) as ended:
        run_and_exit(use_wrongly)
    assert ended.value.code == 2
    assert "No such option: --frob" in capsys.readouterr().err


def test_a_bug_is_exit_70_with_its_traceback_in_a_log_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal gets one line, and where the traceback is."""
    with pytest.raises(SystemExit) as ended:
        run_and_exit(stumble)
    said = capsys.readouterr().err
    (log,) = (home / "logs").glob("error-*.log")

    assert ended.value.code == 70
    assert said == f"Unexpected error: ZeroDivisionError: a bug. The traceback is in {log}.\n"
    assert "in stumble" in log.read_text()


def test_a_bug_without_a_home_to_write_to_shows_its_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no log can be written the traceback is not lost."""
    (home / "file").touch()
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(home / "file"))
    with pytest.raises(SystemExit) as ended:
        run_and_exit(stumble)

    assert ended.value.code == 70
    said = capsys.readouterr().err
    assert "in stumble" in said
    assert said.endswith("Unexpected error: ZeroDivisionError: a bug. Its traceback is above.\n")


def test_afterwards_signals_are_handled_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A test or a notebook that runs a command in its own process keeps its handlers."""
    before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
    with pytest.raises(SystemExit):
        run_and_exit(be_terminated)
    assert (signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)) == before


def test_variables_of_a_dotenv_file_are_read_and_real_ones_win(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials stand in `.env` of the working directory or above it."""
    (home / ".env").write_text("STEAM_ASSETS_DEVICE=from-file\nSTEAM_ASSETS_DTYPE=from-file\n")
    (home / "below").mkdir()
    monkeypatch.chdir(home / "below")
    monkeypatch.setenv("STEAM_ASSETS_DTYPE", "from-environment")
    monkeypatch.setenv("STEAM_ASSETS_DEVICE", "")
    monkeypatch.delenv("STEAM_ASSETS_DEVICE")
    found: dict[str, str | None] = {}
    with pytest.raises(SystemExit):
        run_and_exit(lambda: found.update(os.environ))

    assert (found["STEAM_ASSETS_DEVICE"], found["STEAM_ASSETS_DTYPE"]) == ("from-file", "from-environment")


def test_what_dagster_s_database_says_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """Dagster wraps SQLAlchemy's error, which wraps the driver's; the password is in none of what is told."""
    engine = sqlalchemy.create_engine("postgresql+psycopg2://u:s3cret@127.0.0.1:1/dagster")

    def lose_dagster_s_database() -> None:
        try:
            engine.connect()
        except sqlalchemy.exc.OperationalError as error:
            raise RuntimeError("too many retries for DB connection") from error

    with pytest.raises(SystemExit) as ended:
        run_and_exit(lose_dagster_s_database)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("Error: Dagster's database: It cannot be opened: connection to server at")
    assert said.endswith("Check that the server runs there.\n")
    assert "s3cret" not in said
