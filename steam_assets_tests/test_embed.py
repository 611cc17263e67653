"""`steam-assets embed` does what is pending; whatever kills it, the next one ends in the same state."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.defs.instance import open_instance
from steam_assets.defs.resources import GpuResource
from steam_assets.embed import EmbedOutcome, embed_columns
from steam_assets.encoder.models import Model
from steam_assets.store.database import connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.targets import choose_first_model
from steam_assets_tests.dagster_home import Ended, contents, embedded_rows, fill_tables
from steam_assets_tests.databases import new_database, wait_until
from steam_assets_tests.rows import execute, fetch

Run = Callable[..., Ended]

STEAM_ASSETS = Path(sys.executable).parent / "steam-assets"
ROWS = 80
SLOW_TABLE = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE UPDATE ON applications FOR EACH ROW EXECUTE FUNCTION slow()
"""


@pytest.mark.slow
def test_the_second_embed_writes_nothing(steam_assets: Run, tables: connection) -> None:
    """No row gets a new version, no range is attempted again, and both end with 0."""
    first = steam_assets("embed", "--json")
    assert first.code == 0, first
    assert [status["state"]["embedded"] for status in json.loads(first.out)] == [24, 24]
    before = [contents(tables, column) for column in COLUMNS], statuses(tables)

    assert steam_assets("embed").code == 0
    assert ([contents(tables, column) for column in COLUMNS], statuses(tables)) == before


def test_a_dry_run_counts_exactly_the_rows_that_embed_then_writes(steam_assets: Run, tables: connection) -> None:
    """It reads and times, and writes nothing."""
    execute(tables, "UPDATE reviews SET review_text = '  ' WHERE recommendationid IN ('1', '2')")
    before = contents(tables, REVIEWS)
    ended = steam_assets("embed", "reviews", "--dry-run", "--json")
    (estimate,) = json.loads(ended.out)
    assert ended.code == 0
    assert contents(tables, REVIEWS) == before
    assert 0 < estimate["seconds_low"] <= estimate["seconds_high"]
    assert sum(estimate["histogram"].values()) == estimate["rows"]

    steam_assets("embed", "reviews")
    assert embedded_rows(tables, REVIEWS) == estimate["rows"] == 22
    assert "0 rows to encode" in steam_assets("embed", "reviews", "--dry-run").out


def test_a_limit_is_reached_exactly_and_is_no_failure(steam_assets: Run, tables: connection) -> None:
    """Exit 0 although rows are pending: they were not asked for. The columns share the limit."""
    assert steam_assets("embed", "--limit", "30").code == 0
    assert (embedded_rows(tables, APPLICATIONS), embedded_rows(tables, REVIEWS)) == (24, 6)


def test_a_failed_run_is_exit_1_with_the_database_s_words(steam_assets: Run, tables: connection, home: Path) -> None:
    """The other column is filled all the same; the reason, the red checks and the log file are named."""
    execute(tables, "ALTER TABLE applications ADD CONSTRAINT frozen CHECK (description_embedding IS NULL)")
    ended = steam_assets("embed")

    assert ended.code == 1
    assert 'violates check constraint "frozen"' in ended.err
    assert "Red checks: description_embedding_complete, description_embedding_coverage." in ended.err
    assert (embedded_rows(tables, APPLICATIONS), embedded_rows(tables, REVIEWS)) == (0, 24)
    (log,) = (home / "logs").glob("embed-*.log")
    assert str(log) in ended.err
    assert log.read_text().splitlines()[0].endswith("from STEAM_ASSETS_DATABASE_URL")


@dataclass(frozen=True)
class Stopped:
    """How a command ended that was stopped in its work, and what it left: ranges' states, its runs' as well."""

    code: int
    said: str
    ranges: list[str]
    dagster: list[dg.DagsterRunStatus]


@dataclass(frozen=True)
class Revived:
    """A column filled by a command that was killed, and then by one that was let alone."""

    killed: Stopped
    finished: EmbedOutcome
    ranges: list[str]
    dagster: list[dg.DagsterRunStatus]
    rows: list[tuple[object, ...]]
    undisturbed_rows: list[tuple[object, ...]]


def connect_and_fill(url: str, model: Model) -> connection:
    """A connection to a new database, with ROWS applications to embed."""
    conn = connect(find_database(url))
    fill_tables(conn, applications=ROWS)
    with conn:
        choose_first_model(conn, APPLICATIONS, model)
    return conn


def statuses(conn: connection) -> list[str]:
    """The states of all attempts at ranges, in their order."""
    return [str(status) for (status,) in fetch(conn, "SELECT status FROM embedding_run_ranges ORDER BY range_id")]


def run_statuses() -> list[dg.DagsterRunStatus]:
    """The states of Dagster's runs, the newest first."""
    with open_instance() as instance:
        return [run.status for run in instance.get_runs() if run.job_name.startswith("embed_")]


def embed_and_stop(conn: connection, stop_with: signal.Signals) -> Stopped:
    """Run the command; send it a signal when it has finished a range and begun the next."""
    done = statuses(conn).count("done")

    def in_the_middle() -> bool:
        found = statuses(conn)
        return found.count("done") > done and found[-1] == "running"

    command = [str(STEAM_ASSETS), "embed", "applications"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            wait_until(in_the_middle, "the command is in the middle of its work", 120)
            process.send_signal(stop_with)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    return Stopped(process.returncode, said, statuses(conn), run_statuses())


def embed_undisturbed() -> EmbedOutcome:
    """What the command does, in this process."""
    return embed_columns([APPLICATIONS], lambda: connect(find_database()), GpuResource(device="cpu"), None, print)


@pytest.fixture(scope="module")
def revived(
    server: EmbeddedServer, schema_template: str, dagster_template: str, test_directory: Path, minilm: Model
) -> Iterator[Revived]:
    """Two commands after each other on one table, the first killed in the middle; and one on another table."""
    with (
        pytest.MonkeyPatch.context() as patch,
        new_database(server, schema_template) as url,
        new_database(server, schema_template) as undisturbed_url,
        new_database(server, dagster_template) as dagster_url,
        new_database(server, dagster_template) as undisturbed_dagster_url,
        closing(connect_and_fill(url, minilm)) as conn,
        closing(connect_and_fill(undisturbed_url, minilm)) as undisturbed,
    ):
        patch.setenv("DAGSTER_HOME", "")
        patch.setenv("STEAM_ASSETS_HOME", str(test_directory / "home_of_the_revived"))
        patch.setenv("STEAM_ASSETS_DEVICE", "cpu")
        patch.setenv("STEAM_ASSETS_DATABASE_URL", url)
        patch.setenv("STEAM_ASSETS_DAGSTER_URL", dagster_url)
        execute(conn, SLOW_TABLE)
        killed = embed_and_stop(conn, signal.SIGKILL)
        execute(conn, "DROP TRIGGER slow ON applications")
        finished, after = embed_undisturbed(), (statuses(conn), run_statuses())
        patch.setenv("STEAM_ASSETS_DATABASE_URL", undisturbed_url)
        patch.setenv("STEAM_ASSETS_DAGSTER_URL", undisturbed_dagster_url)
        embed_undisturbed()
        yield Revived(
            killed,
            finished,
            *after,
            rows=contents(conn, APPLICATIONS),
            undisturbed_rows=contents(undisturbed, APPLICATIONS),
        )


@pytest.mark.slow
def test_a_killed_run_is_buried_by_the_next_command(revived: Revived) -> None:
    """It could not say that it died: the next command marks its run failed and its range lost."""
    assert revived.killed.code == -signal.SIGKILL
    assert revived.killed.ranges[-1] == "running"
    assert revived.killed.dagster == [dg.DagsterRunStatus.STARTED]
    assert revived.ranges[len(revived.killed.ranges) - 1] == "lost"
    assert revived.dagster == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@pytest.mark.slow
def test_after_a_kill_and_another_command_the_table_is_as_if_nothing_had_happened(revived: Revived) -> None:
    """The same ids, digests and runs everywhere, and vectors equal within the encoder's tolerance."""
    assert (revived.finished.errors, revived.finished.red_checks) == ((), ())
    assert 0 < revived.finished.rows < ROWS
    assert "running" not in revived.ranges
    assert len(revived.rows) == ROWS + 1
    identity = [(row[0], row[2], row[3]) for row in revived.rows]
    assert identity == [(row[0], row[2], row[3]) for row in revived.undisturbed_rows]

    ours, theirs = (
        np.array([json.loads(str(row[4])) for row in rows if row[4] is not None])
        for rows in (revived.rows, revived.undisturbed_rows)
    )
    assert ours.shape == theirs.shape == (ROWS, 384)
    assert np.einsum("ij,ij->i", ours, theirs).min() >= 0.99999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "message"), [(signal.SIGTERM, 143, "Terminated.\n"), (signal.SIGINT, 130, "Interrupted.\n")]
)
def test_a_signal_ends_the_command_with_the_range_at_hand_aborted(
    number: signal.Signals, code: int, message: str, dagster_url: str, tables: connection
) -> None:
    """An init system's stop and a person's end the run as canceled; no further range is begun."""
    execute(tables, SLOW_TABLE)
    stopped = embed_and_stop(tables, number)

    assert stopped.code == code
    assert stopped.said.endswith(message)
    assert (stopped.ranges[-1], stopped.ranges.count("aborted")) == ("aborted", 1)
    assert stopped.dagster == [dg.DagsterRunStatus.CANCELED]
