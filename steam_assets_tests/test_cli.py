"""The command line: every verb explains itself, prints what scripts can read, and ends as documented."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from psycopg2.extensions import connection

from steam_assets.cli import cli
from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.models import Model
from steam_assets_tests.dagster_home import Ended, contents, embedded_rows, one_line
from steam_assets_tests.rows import execute, fetch

Run = Callable[..., Ended]

VERBS = (
    *("init", "load", "up", "demo", "embed", "status", "ranges", "failures", "retry", "search", "doctor", "db"),
    *("index", "evaluate", "compare", "promote", "drop-column", "map", "export", "serve", "metrics", "purge"),
)
MINILM = "all-MiniLM-L6-v2"


def test_every_verb_is_there_and_has_help(steam_assets: Run) -> None:
    """The list that people rely on; each help opens with a sentence and explains every option."""
    assert set(cli.commands) == set(VERBS)
    for verb in VERBS:
        ended = steam_assets(verb, "--help")
        assert ended.code == 0
        assert ended.out.startswith(f"Usage: steam-assets {verb}")
        command = cli.commands[verb]
        assert (command.help or "").strip().split("\n")[0].endswith(".")
        unexplained = [o.name for o in command.params if isinstance(o, click.Option) and not o.help]
        assert unexplained == []


def test_wrong_usage_is_exit_2(steam_assets: Run) -> None:
    """The usage is shown, and no traceback."""
    for line in ("embed --limit 0", "frobnicate", "search", "search x --k nine", "up --port 99999"):
        ended = steam_assets(*line.split())
        assert ended.code == 2, line
        assert "Usage: steam-assets" in ended.err, line
        assert "Traceback" not in ended.err


def test_status_counts_every_row_in_exactly_one_state(steam_assets: Run, tables: connection) -> None:
    """total = blank + failed + embedded + stale + missing, before, half-way and after."""
    steam_assets("embed", str(APPLICATIONS), "--limit", "5")
    execute(tables, "UPDATE applications SET short_description = 'Changed.' WHERE appid = 10")
    found = {status["column"]: status for status in json.loads(steam_assets("status", "--json").out)}

    for status in found.values():
        state = status["state"]
        assert state["total"] == sum(state[name] for name in ("blank", "failed", "embedded", "stale", "missing")) == 25
    state = found[str(APPLICATIONS)]["state"]
    assert (state["blank"], state["embedded"], state["stale"], state["missing"]) == (1, 4, 1, 19)
    assert found[str(APPLICATIONS)]["coverage_percent"] == pytest.approx(100 * 4 / 24)
    assert found[str(APPLICATIONS)]["last_range"]["status"] == "done"
    in_words = steam_assets("status").out
    assert "16.66 %" in in_words


def test_search_answers_with_the_nearest_rows(steam_assets: Run, tables: connection) -> None:
    """Farming games are found without a word in common; JSON holds the same hits."""
    steam_assets("embed", str(APPLICATIONS))
    ended = steam_assets("search", "planting vegetables together", "--in", "applications", "--k", "3", "--json")
    (result,) = json.loads(ended.out)

    assert ended.code == 0
    assert len(result["hits"]) == 3
    assert all("farming village" in hit["text"] for hit in result["hits"])
    assert result["left_out"] == 0
    assert "farming village" in steam_assets("search", "planting vegetables together").out


def test_ranges_lists_every_partition(steam_assets: Run, tables: connection) -> None:
    """The keys are those of the web UI's partitions; a line sums up each column."""
    (found,) = json.loads(steam_assets("ranges", "reviews", "--json").out)
    assert found["column"] == "reviews.review_embedding"
    assert found["rows"] == found["pending"] + 1 == sum(row["rows"] for row in found["ranges"]) == 25
    assert found["ranges"][0]["key"].startswith("~:")
    assert found["ranges"][0]["age_s"] is None
    shown = steam_assets("ranges").out
    assert found["ranges"][0]["key"] in shown
    assert "never" in shown
    assert "reviews.review_embedding: 2 ranges (reviews_id_range), 25 rows, 24 pending; skew 1.0" in shown


def test_a_recut_is_asked_about_and_keeps_every_vector(steam_assets: Run, tables: connection) -> None:
    """No changes nothing; yes cuts the table once for all its columns, and names what is next."""
    before = contents(tables, APPLICATIONS)
    assert json.loads(steam_assets("ranges", "applications", "--json").out)[0]["partitions"] == "applications_id_range"
    declined = steam_assets("ranges", "--recut", "applications", typed="n\n")
    assert declined.code == 1
    assert "No vector is touched." in declined.out
    assert "Repeat with --yes" in one_line(steam_assets("ranges", "--recut", "applications"), 2)
    assert steam_assets("ranges", "--recut").code == 2

    accepted = steam_assets("ranges", "applications", "applications", "--recut", typed="y\n")
    assert accepted.code == 0
    assert "3 new ranges, applications_id_range_v2. Next: `steam-assets embed" in accepted.out
    scripted = steam_assets("ranges", "--recut", "reviews", "--yes", "--json")
    made = {"column": "reviews.review_embedding", "partitions": "reviews_id_range_v2", "ranges": 2}
    assert json.loads(scripted.out) == [made]
    assert contents(tables, APPLICATIONS) == before


@pytest.fixture
def quarantined(tables: connection) -> list[str]:
    """Two reviews that were given up, one of them with an id that a shell would not leave alone."""
    odd = 'it\'s "7" 50%'
    execute(tables, "UPDATE reviews SET recommendationid = %(odd)s WHERE recommendationid = '7'", odd=odd)
    execute(
        tables,
        """
        INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind, reason)
        SELECT 'reviews', 'review_embedding', target_run_id, recommendationid, md5(review_text)::uuid, 'failed', 'why'
        FROM reviews
        JOIN embedding_columns ON table_name = 'reviews'
        WHERE recommendationid IN (%(odd)s, '3')
        """,
        odd=odd,
    )
    return ["3", odd]


def test_failures_lists_them_and_retry_has_the_next_embed_try_them(
    steam_assets: Run, tables: connection, quarantined: list[str]
) -> None:
    """From the list to the released row to its vector; each step names the next one, and a script can read it."""
    first, odd = quarantined
    shown = steam_assets("failures")
    assert shown.code == 0
    assert "2 failed, 0 to be tried" in shown.out
    found = json.loads(steam_assets("failures", "reviews", "--json").out)
    assert [(row["id"], row["state"], row["reason"], row["attempts"]) for row in found] == [
        (first, "failed", "why", 1),
        (odd, "failed", "why", 1),
    ]
    assert json.loads(steam_assets("failures", "applications", "--json").out) == []

    ended = steam_assets("retry", "--id", odd)
    assert ended.code == 0
    assert ended.out == "reviews.review_embedding: 1 released. Next: `steam-assets embed reviews.review_embedding`.\n"
    released = json.loads(steam_assets("retry", "--column", "reviews", "--json").out)
    assert released == [{"column": "reviews.review_embedding", "released": 1}]
    assert "0 failed, 2 to be tried" in steam_assets("failures").out
    assert "nothing was changed" in steam_assets("retry").out

    assert steam_assets("embed", "reviews").code == 0
    assert json.loads(steam_assets("failures", "--json").out) == []


def test_retrying_a_row_that_did_not_fail_is_exit_2_and_releases_nothing(
    steam_assets: Run, tables: connection, quarantined: list[str]
) -> None:
    """The mistyped id is named; the right one beside it stays in quarantine."""
    line = one_line(steam_assets("retry", "--id", quarantined[0], "--id", "no such row"), 2)
    assert "'no such row'" in line
    assert quarantined[0] not in line
    assert "2 failed" in steam_assets("failures").out


def test_failures_and_retry_before_init_say_what_to_run(steam_assets: Run, empty_database_url: str) -> None:
    """There is no model, so nothing can have failed."""
    for verb in ("failures", "retry"):
        assert "`steam-assets init`" in one_line(steam_assets(verb, "--database-url", empty_database_url), 2)


def test_load_reports_what_became_of_the_rows(steam_assets: Run, tables: connection, home: Path) -> None:
    """A broken line is rejected with exit 1, the others are in; the same file again changes nothing."""
    file = home / "games.csv"
    file.write_text("appid,name,type\n77,Fine,game\nnonsense,Broken,game\n78,Fine too,game\n")
    first = steam_assets("load", str(file), "--as", "applications", "--json")
    (report,) = json.loads(first.out)
    assert first.code == 1
    assert (report["inserted"], report["rejected"]) == (2, 1)
    assert "nonsense" in Path(report["rejects_file"]).read_text()

    (report,) = json.loads(steam_assets("load", str(file), "--as", "applications", "--json").out)
    assert (report["inserted"], report["updated"], report["unchanged"]) == (0, 0, 2)

    for of_vectors in (("--column", "reviews"), ("--ids", str(file)), ("--device", "cpu")):
        ended = steam_assets("load", str(file), *of_vectors)
        assert (ended.code, "are for --vectors" in ended.err) == (2, True)


def test_an_unreachable_database_is_one_message_without_the_password(steam_assets: Run) -> None:
    """Where it was looked for and who said so; exit 2."""
    line = one_line(steam_assets("status", "--database-url", "postgresql://me:hunter2@127.0.0.1:1/x"), 2)
    assert "127.0.0.1, port 1" in line
    assert "Check that the server runs there." in line
    assert "hunter2" not in line


def test_an_unknown_model_is_one_message(empty_database_url: str, steam_assets: Run) -> None:
    """Neither on the hub, which cannot be reached here, nor in a directory; nothing is created."""
    ended = steam_assets("init", "--database-url", empty_database_url, "--model", "nobody/no-such-model")
    assert "nobody/no-such-model" in one_line(ended, 2)
    assert "No column has a model yet" in steam_assets("status", "--database-url", empty_database_url).out


def test_a_home_that_cannot_be_written_is_one_message(
    steam_assets: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place; the message names the variable to set."""
    (home / "taken").touch()
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(home / "taken"))
    monkeypatch.delenv("STEAM_ASSETS_DATABASE_URL")
    assert "STEAM_ASSETS_HOME" in one_line(steam_assets("status"), 2)


def test_doctor_says_who_named_the_database(steam_assets: Run, named_database: str) -> None:
    """An option is not taken for the environment."""
    ended = steam_assets("doctor", "--json", "--device", "cuda:99", "--database-url", named_database)
    found = {check["name"]: check["found"] for check in map(json.loads, ended.out.splitlines())}
    assert found["database"].endswith(" (from --database-url)")


def test_a_file_of_garbage_is_one_message(steam_assets: Run, tables: connection, home: Path) -> None:
    """Bytes that are no text load nothing."""
    file = home / "garbage.csv"
    file.write_bytes(bytes(range(256)) * 500)
    before = contents(tables, APPLICATIONS)

    line = one_line(steam_assets("load", str(file)), 2)
    assert "garbage.csv" in line
    assert contents(tables, APPLICATIONS) == before


def test_an_unexpected_error_is_exit_70_and_its_traceback_is_in_a_log(
    steam_assets: Run, tables: connection, home: Path
) -> None:
    """A database that somebody has broken is no case of ours; the log has the details."""
    execute(tables, "ALTER TABLE embedding_runs DROP COLUMN normalized")
    line = one_line(steam_assets("status"), 70)

    (log,) = (home / "logs").glob("error-*.log")
    assert str(log) in line
    assert "Traceback" in log.read_text()


def test_a_model_named_by_the_environment_that_is_not_the_column_s_is_refused_with_both_names(
    steam_assets: Run, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable chooses at the first init and never behind one's back."""
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "BAAI/bge-m3")
    for verb in ("embed", "init"):
        line = one_line(steam_assets(verb), 2)
        assert "BAAI/bge-m3" in line
        assert MINILM in line
    assert embedded_rows(tables, APPLICATIONS) == 0


def test_another_model_is_asked_about_and_taken_on_yes(
    steam_assets: Run, tables: connection, another_minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No leaves everything as it is; yes makes every row stale, which the same command then fills."""
    steam_assets("embed", str(APPLICATIONS))
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "")
    before = contents(tables, APPLICATIONS)
    declined = steam_assets("embed", str(APPLICATIONS), "--model", str(another_minilm), typed="n\n")
    assert declined.code == 1
    assert "24 rows become stale, and searches lose each row" in declined.out
    execute(tables, "UPDATE embedding_columns SET serving_run_id = NULL WHERE table_name = 'reviews'")
    of_no_searches = steam_assets("embed", "reviews", "--model", str(another_minilm), typed="n\n")
    assert "0 rows become stale." in of_no_searches.out
    assert contents(tables, APPLICATIONS) == before
    assert "Repeat with --yes" in one_line(steam_assets("embed", "applications", "--model", str(another_minilm)), 2)

    monkeypatch.setenv("STEAM_ASSETS_MODEL", str(another_minilm))
    accepted = steam_assets("embed", "applications", "--model", str(another_minilm), "--json", typed="y\n")
    assert accepted.code == 0, accepted
    runs = fetch(tables, "SELECT DISTINCT embedding_run_id FROM applications WHERE embedding_run_id IS NOT NULL")
    assert runs == fetch(tables, "SELECT max(run_id) FROM embedding_runs")
    assert runs != [(before[0][2],)]


def test_a_model_of_another_dimension_is_refused_whatever_one_answers(
    steam_assets: Run, tables: connection, bge_shaped: Model
) -> None:
    """It belongs in a column of its own; the message has both numbers."""
    ended = steam_assets("embed", "reviews", "--model", bge_shaped.location, "--yes")
    line = one_line(ended, 2)
    assert "384" in line
    assert "1024" in line
    assert "steam_assets/columns.py" in line


def test_a_dry_run_and_a_change_of_model_exclude_each_other(steam_assets: Run, tables: connection) -> None:
    """A dry run that changed the target would not be one."""
    assert steam_assets("embed", "--dry-run", "--model", MINILM, "--yes").code == 2


def test_the_predecessor_s_batch_size_is_taken_and_explained(steam_assets: Run, tables: connection) -> None:
    """Its users keep their command lines, and learn what it means here."""
    ended = steam_assets("embed", str(APPLICATIONS), "--batch_size", "2", "--limit", "1")
    assert ended.code == 0
    assert "--batch_size 2 is taken as --batch-tokens 1024." in ended.err
