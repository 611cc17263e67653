"""The doctor: what it finds on a real database and a real model, and that its fixes mend what it found."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets import doctor_speed
from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.doctor import Check, exit_code, run_checks
from steam_assets.doctor_database import check_database
from steam_assets.doctor_speed import OPTIONS
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.encoder.models import Model


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    """The checks under their names; every name occurs once."""
    listed = list(checks)
    found = {check.name: check for check in listed}
    assert len(found) == len(listed)
    return found


@pytest.fixture(autouse=True)
def fewer_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time bf16 through torch only: to convert the model for OpenVINO takes seconds."""
    monkeypatch.setattr(doctor_speed, "OPTIONS", {("torch", "bf16"): OPTIONS["torch", "bf16"]})
    monkeypatch.setattr(doctor_speed, "TIMED_S", 0.2)


@pytest.fixture
def superuser(database_url: str) -> Iterator[connection]:
    """A superuser's connection to the test's database, each statement its own transaction."""
    opened = psycopg2.connect(database_url)
    opened.autocommit = True
    yield opened
    opened.close()


@pytest.fixture
def clerk_url(superuser: connection, database_url: str) -> Iterator[str]:
    """The test's database as a user who may log in, and nothing else."""
    with superuser.cursor() as cursor:
        cursor.execute("CREATE ROLE clerk LOGIN")
        cursor.execute(f"REVOKE ALL ON DATABASE {superuser.info.dbname} FROM PUBLIC")
        cursor.execute(f"GRANT CONNECT ON DATABASE {superuser.info.dbname} TO clerk")
    yield database_url.replace("postgres@", "clerk@")
    with superuser.cursor() as cursor:
        cursor.execute("DROP OWNED BY clerk; DROP ROLE clerk")


@pytest.fixture
def check_as_clerk(clerk_url: str) -> Callable[[], dict[str, Check]]:
    """Run the database's checks as that user."""
    return lambda: by_name(check_database(COLUMNS, clerk_url))


def test_every_check_of_a_ready_machine_passes_and_a_missing_gpu_is_a_warning(database_url: str, minilm: Model) -> None:
    """On a machine that can do the job nothing fails, and the checks can be read by a program."""
    checks = by_name(run_checks(configured=lambda: minilm, database_url=database_url))
    assert [check for check in checks.values() if check.state == "fail"] == []
    assert exit_code(list(checks.values())) == 0
    for name in (
        "Python",
        "torch",
        "model",
        "16 bit",
        "home",
        "database",
        "PostgreSQL",
        "pgvector",
        "rights",
        *map(str, COLUMNS),
    ):
        assert checks[name].state == "ok", checks[name]
    assert checks["CUDA available"].state in ("ok", "warn")
    assert {"CUDA version", "driver and NVML"} <= set(checks)
    assert json.loads(json.dumps([asdict(check) for check in checks.values()]))[0]["name"] == "Python"


def test_the_model_is_run_not_looked_up(database_url: str, minilm: Model) -> None:
    """The dimension and the norm come from a forward pass, on the device that is used."""
    found = by_name(run_checks((), lambda: minilm, database_url, EncoderSettings(device="cpu")))["model"]
    assert (found.state, found.fix) == ("ok", "")
    assert "384 numbers, norm 1.0000, fp32 on cpu" in found.found


def test_how_fast_16_bit_is_here_is_measured(database_url: str, minilm: Model) -> None:
    """It differs a hundredfold between CPUs, so doctor runs both and says by how much; slower is no failure."""
    found = by_name(run_checks((), lambda: minilm, database_url, EncoderSettings(device="cpu")))["16 bit"]
    assert found.state == "ok"
    assert re.match(r"bf16 through torch \d+\.\dx the speed of fp32 through torch", found.found)


def test_a_model_that_is_not_what_it_says_fails(database_url: str, minilm: Model) -> None:
    """A model whose vectors have another dimension than was recorded is a failure that names both."""
    found = by_name(run_checks((), lambda: replace(minilm, dimension=385), database_url))["model"]
    assert found.state == "fail"
    assert "384" in found.found
    assert "385" in found.found


def test_a_device_that_is_not_there_fails(database_url: str, minilm: Model) -> None:
    """What is asked for by name and absent is a failure, unlike a GPU that nobody asked for."""
    assert (
        by_name(run_checks((), lambda: minilm, database_url, EncoderSettings(device="cuda:99")))["model"].state
        == "fail"
    )


def test_without_a_configured_model_the_packaged_one_is_run(database_url: str) -> None:
    """On a fresh machine the check is as real, and says which model it took."""
    found = by_name(run_checks((), lambda: None, database_url))["model"]
    assert found.state == "ok"
    assert "all-MiniLM-L6-v2 (the packaged one; none is configured yet)" in found.found


def test_a_database_that_does_not_answer_fails_and_keeps_its_password(minilm: Model) -> None:
    """The other checks are still made, and what is said names the address without the password."""
    checks = by_name(run_checks(COLUMNS, lambda: minilm, "postgresql://steam:hunter2@127.0.0.1:1/steam"))
    assert checks["database"].state == "fail"
    assert "127.0.0.1" in checks["database"].found
    assert "hunter2" not in repr(checks)
    assert checks["model"].state == "ok"
    assert exit_code(list(checks.values())) == 1


def test_a_home_that_cannot_be_written_fails(
    database_url: str, minilm: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with the variable that chooses another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(tmp_path / "file" / "home"))
    found = by_name(run_checks((), lambda: minilm, database_url))["home"]
    assert found.state == "fail"
    assert "STEAM_ASSETS_HOME" in found.found


def test_an_empty_database_is_told_to_run_init(empty_database_url: str) -> None:
    """What `init` will make is a warning with that command, not a failure."""
    checks = by_name(check_database(COLUMNS, empty_database_url))
    for name in ("pgvector", *map(str, COLUMNS)):
        assert (checks[name].state, checks[name].fix) == ("warn", "steam-assets init")


def test_missing_rights_fail_and_the_fix_mends_them(
    check_as_clerk: Callable[[], dict[str, Check]], superuser: connection
) -> None:
    """An administrator who runs what each failed check says has mended it."""
    before = check_as_clerk()
    failed = ["rights", "Dagster storage", *map(str, COLUMNS)]
    assert [name for name, check in before.items() if check.state == "fail"] == failed

    with superuser.cursor() as cursor:
        for name in ("rights", *map(str, COLUMNS)):
            cursor.execute(before[name].fix.split(" runs: ")[1])
    after = check_as_clerk()
    assert [name for name, check in after.items() if check.state == "fail"] == ["Dagster storage"]
    assert after[str(APPLICATIONS)].state == "ok"


def test_dagsters_storage_can_be_named(
    check_as_clerk: Callable[[], dict[str, Check]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With STEAM_ASSETS_DAGSTER_URL no right to create a database is needed."""
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", "postgresql://clerk@/runs")
    assert check_as_clerk()["Dagster storage"].state == "ok"


def test_a_table_of_somebody_else_without_our_columns_fails(
    check_as_clerk: Callable[[], dict[str, Check]], superuser: connection
) -> None:
    """Only an owner can add the columns: readable is not enough, and `init` would fail."""
    with superuser.cursor() as cursor:
        cursor.execute("ALTER TABLE applications DROP COLUMN description_embedding")
        cursor.execute("GRANT SELECT, UPDATE ON applications TO clerk")
    found = check_as_clerk()[str(APPLICATIONS)]
    assert found.state == "fail"
    assert "lacks description_embedding" in found.found


def test_pgvector_that_may_not_be_added_fails(empty_database_url: str) -> None:
    """A user without CREATE on the database needs an administrator for the extension."""
    conn = psycopg2.connect(empty_database_url)
    conn.autocommit = True
    try:
        with conn.cursor() as cursor:
            cursor.execute("CREATE ROLE visitor LOGIN")
            try:
                found = by_name(check_database((), empty_database_url.replace("postgres@", "visitor@")))["pgvector"]
                assert (found.state, found.fix) == ("fail", "an administrator runs: CREATE EXTENSION vector")
            finally:
                cursor.execute("DROP ROLE visitor")
    finally:
        conn.close()


@pytest.mark.parametrize(
    ("trigger", "state"),
    [
        ("BEFORE UPDATE ON applications FOR EACH ROW", "warn"),
        ("BEFORE INSERT OR UPDATE OF description_embedding ON applications FOR EACH ROW", "warn"),
        ("BEFORE UPDATE OF name ON applications FOR EACH ROW", "ok"),
        ("BEFORE UPDATE ON applications FOR EACH STATEMENT", "ok"),
        ("AFTER UPDATE ON applications FOR EACH ROW", "ok"),
        ("BEFORE INSERT ON applications FOR EACH ROW", "ok"),
    ],
)
def test_a_trigger_that_slows_every_write_is_named(
    superuser: connection, database_url: str, trigger: str, state: str
) -> None:
    """Only a row trigger that fires before our UPDATE counts; the fix disables it."""
    with superuser.cursor() as cursor:
        cursor.execute("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        cursor.execute(f'CREATE TRIGGER "Touch it" {trigger} EXECUTE FUNCTION touch()')
        found = by_name(check_database((APPLICATIONS,), database_url))[str(APPLICATIONS)]
        assert found.state == state
        if state == "warn":
            assert "Touch it" in found.found
            cursor.execute(found.fix.partition(": ")[2].partition(";")[0])
            assert by_name(check_database((APPLICATIONS,), database_url))[str(APPLICATIONS)].state == "ok"


@pytest.mark.parametrize(
    ("spoil", "check", "state", "found"),
    [
        ("ALTER TABLE reviews ALTER appid DROP NOT NULL", REVIEWS, "ok", "readable and writable"),
        ("ALTER TABLE reviews SET UNLOGGED", REVIEWS, "warn", "is unlogged"),
        ("CREATE RULE r AS ON UPDATE TO reviews DO INSTEAD NOTHING", REVIEWS, "fail", "has the rule r"),
        ("ALTER TABLE reviews DROP CONSTRAINT reviews_pkey", REVIEWS, "fail", "is not unique by itself"),
        ("UPDATE pg_extension SET extversion = '0.6.2' WHERE extname = 'vector'", "pgvector", "fail", "is 0.6.2"),
    ],
)
def test_what_init_would_refuse_or_mention_is_found(
    superuser: connection, database_url: str, spoil: str, check: object, state: str, found: str
) -> None:
    """The same judgement as init's, before anybody runs it."""
    with superuser.cursor() as cursor:
        cursor.execute(spoil)
    checks = by_name(check_database((REVIEWS,), database_url))
    assert checks[str(check)].state == state
    assert found in checks[str(check)].found


def test_a_database_that_only_reads_fails(superuser: connection, database_url: str) -> None:
    """Everything else about it is still looked at."""
    assert by_name(check_database((), database_url))["writing"].state == "ok"
    with superuser.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {superuser.info.dbname} SET default_transaction_read_only = on")
    checks = by_name(check_database((REVIEWS,), database_url))
    assert checks["writing"].state == "fail"
    assert "default_transaction_read_only" in checks["writing"].found
    assert checks[str(REVIEWS)].state == "ok"


@pytest.mark.gpu
def test_a_gpu_is_described(database_url: str, minilm: Model) -> None:
    """On a CUDA machine device, capability, memory, bf16 and driver are all there, and the model runs on it."""
    checks = by_name(run_checks((), lambda: minilm, database_url))
    for name in ("CUDA available", "driver and NVML", "GPU 0", "GPU 0 bf16"):
        assert checks[name].state == "ok", checks[name]
    assert "compute capability" in checks["GPU 0"].found
    assert "GB free" in checks["GPU 0 memory"].found
    assert "on cuda:0" in checks["model"].found
