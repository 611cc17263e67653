"""Id ranges are registered with Dagster once, ascending and without a hole, by however many at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.defs.partitions import (
    UnregisteredRange,
    partitions_name,
    partitions_of,
    register_ranges,
    registered_ranges,
    requested_ranges,
)
from steam_assets.defs.runs import root_error
from steam_assets.id_range import IdRange
from steam_assets.store.locks import loading, registering
from steam_assets.store.ranges import BrokenRanges, check_contiguous
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import Connect, add_rows, execute, fetch

REGISTRARS = 4
LOOKS = 8


def keys(instance: dg.DagsterInstance, column: TextColumn = APPLICATIONS) -> list[str]:
    """The partition keys as Dagster returns them."""
    return list(instance.get_dynamic_partitions(partitions_name(column)))


def test_registering_ranges_twice_changes_nothing(instance: dg.DagsterInstance, tables: connection) -> None:
    """A second look at the same table finds the keys of the first, in the same order."""
    for column in (APPLICATIONS, REVIEWS):
        first = register_ranges(instance, tables, column)
        before = keys(instance, column)

        assert register_ranges(instance, tables, column) == first
        assert keys(instance, column) == before == [id_range.key for id_range in first]


def test_registered_ranges_are_contiguous_from_the_first_id_to_beyond_the_last(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """The first range is open below; integers have a range ahead of the newest id, texts an open end."""
    applications = register_ranges(instance, tables, APPLICATIONS)
    reviews = register_ranges(instance, tables, REVIEWS)

    check_contiguous(APPLICATIONS, applications)
    check_contiguous(REVIEWS, reviews)
    assert applications[0].start is None
    assert applications[-1].start == 251
    assert reviews[0].start is None
    assert reviews[-1].stop is None


def test_new_ids_get_new_ranges_and_old_keys_stay(instance: dg.DagsterInstance, tables: connection) -> None:
    """Growth beyond the last range adds keys at the end; none that is there is cut anew."""
    before = [id_range.key for id_range in register_ranges(instance, tables, APPLICATIONS)]
    execute(tables, "INSERT INTO applications (appid, name) SELECT n, 'Later' FROM generate_series(9000, 9050) AS n")
    after = register_ranges(instance, tables, APPLICATIONS)

    assert keys(instance)[: len(before)] == before
    assert len(after) > len(before)
    check_contiguous(APPLICATIONS, after)
    assert isinstance(after[-1].start, int)
    assert after[-1].start > 9050


def test_the_ranges_of_an_empty_table_are_registered_when_its_first_rows_are_there(
    instance: dg.DagsterInstance, conn: connection
) -> None:
    """Looking before registers nothing; ids below the first and beyond the last fall inside a range afterwards."""
    for column, rows in (
        (APPLICATIONS, "INSERT INTO applications (appid, name) SELECT 100 * n, 'x' FROM generate_series(1, 80) AS n"),
        (REVIEWS, "INSERT INTO reviews (recommendationid, appid) SELECT n, 100 FROM generate_series(1, 80) AS n"),
    ):
        assert register_ranges(instance, conn, column) == []
        assert keys(instance, column) == []
        execute(conn, rows)
        found = register_ranges(instance, conn, column)
        assert len(found) == 8 + (column is APPLICATIONS)
        assert found[0].start is None


def test_a_table_is_first_cut_when_its_load_is_done(
    instance: dg.DagsterInstance, notes: TextColumn, numbered: TextColumn, connect: Connect, conn: connection
) -> None:
    """A daemon that looks between two chunks of a load would cut the first of them, and have the rest in one range.

    A table that has its ranges already gets those of new ids at once, and so does one that is not being loaded.
    """
    add_rows(conn, notes, {f"a{n}": "text" for n in range(8)})
    with closing(connect()) as load:
        load.autocommit = True
        with loading(load, notes.qualified_table), loading(load, numbered.qualified_table):
            assert register_ranges(instance, conn, notes) == []
            # The load itself may.
            add_rows(conn, numbered, dict.fromkeys(range(8), "text"))
            cut = register_ranges(instance, load, numbered)
            add_rows(conn, numbered, dict.fromkeys(range(5000, 5100), "text"))
            assert len(register_ranges(instance, conn, numbered)) > len(cut) > 0
            add_rows(conn, notes, {f"z{n}": "text" for n in range(8)})
        found = register_ranges(instance, conn, notes)
    assert len(found) == 8
    assert found[4].start == "z0"


def test_any_number_of_registrars_at_once_leave_no_hole_and_no_overlap(
    instance: dg.DagsterInstance, numbered: TextColumn, connect: Connect, conn: connection
) -> None:
    """Two daemons and a command look at the moment at which rows pour in, and each gets all ranges there are."""
    rounds = 3
    barrier = threading.Barrier(REGISTRARS)

    def register(number: int) -> list[list[IdRange]]:
        found = []
        with closing(connect()) as own, closing(connect()) as writer, dg.DagsterInstance.get() as own_instance:
            own.autocommit = True
            for turn in range(rounds):
                barrier.wait(60)
                # Each sees another newest id, so that each would cut for itself.
                for step in range(LOOKS):
                    first = turn * 1_000_000 + (step * REGISTRARS + number) * 10_000
                    add_rows(writer, numbered, dict.fromkeys(range(first, first + 5), "text"))
                    found.append(register_ranges(own_instance, own, numbered))
        return found

    with ThreadPoolExecutor(REGISTRARS) as threads:
        returned = list(threads.map(register, range(REGISTRARS)))
    final = registered_ranges(instance, numbered)
    check_contiguous(numbered, final)
    assert len({id_range.key for id_range in final}) == len(final) > rounds
    ((newest,),) = fetch(conn, "SELECT max(id) FROM numbered")
    assert isinstance(newest, int)
    assert isinstance(final[-1].start, int)
    assert final[-1].start > newest
    for of_one in returned:
        for seen in of_one:
            assert seen == final[: len(seen)]


def test_who_registers_waits_for_the_one_who_is_at_it(
    instance: dg.DagsterInstance, numbered: TextColumn, connect: Connect, conn: connection
) -> None:
    """And then finds that nothing is left to add, whatever it had seen before."""
    add_rows(conn, numbered, dict.fromkeys(range(10), "text"))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    def register() -> list[IdRange]:
        with closing(connect()) as own:
            return register_ranges(instance, own, numbered)

    with ThreadPoolExecutor(1) as threads, closing(connect()) as first:
        with registering(first):
            second = threads.submit(register)
            wait_until(lambda: fetch(conn, waiting) == [(1,)], "the second one waits")
            ours = [IdRange(None, 4), IdRange(4, 5000)]
            instance.add_dynamic_partitions(partitions_name(numbered), [id_range.key for id_range in ours])
            assert not second.done()
        check_contiguous(numbered, second.result(60))
    assert registered_ranges(instance, numbered)[:2] == ours


def test_the_lock_is_free_again_after_an_error(conn: connection, connect: Connect) -> None:
    """Also where the error has aborted the transaction, in which nothing else could be said."""
    with conn.cursor() as cursor, pytest.raises(psycopg2.errors.DivisionByZero), registering(conn):
        cursor.execute("SELECT 1 / 0")
    with closing(connect()) as other, other.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        with registering(other):
            assert fetch(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(1,)]


def test_a_key_that_somebody_deleted_or_added_is_one_error_with_the_way_out(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """A hole in the middle cannot be filled in order, and a foreign key names no range; the web UI offers both."""
    found = register_ranges(instance, tables, APPLICATIONS)
    name = partitions_name(APPLICATIONS)
    instance.delete_dynamic_partition(name, found[2].key)
    with pytest.raises(BrokenRanges, match=r"`steam-assets ranges --recut applications\.description_embedding`"):
        register_ranges(instance, tables, APPLICATIONS)
    instance.add_dynamic_partitions(name, [found[2].key])
    with pytest.raises(BrokenRanges, match="do not follow each other"):
        registered_ranges(instance, APPLICATIONS)

    instance.add_dynamic_partitions(partitions_name(REVIEWS), ["nonsense"])
    with pytest.raises(BrokenRanges, match="'nonsense' is not a partition key"):
        register_ranges(instance, tables, REVIEWS)


def test_the_last_key_is_registered_again_when_somebody_deleted_it(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """At the end there is no hole to fill, so nobody has to do anything."""
    for column in (APPLICATIONS, REVIEWS):
        found = register_ranges(instance, tables, column)
        instance.delete_dynamic_partition(partitions_name(column), found[-1].key)
        again = register_ranges(instance, tables, column)
        assert again[:-1] == found[:-1]
        assert again[-1].start == found[-1].start


def test_dagster_resolves_a_stretch_of_keys_to_exactly_the_ranges_between(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """A backfill of the second to the fifth range runs four: the order of registration is the order of ids."""
    found = [id_range.key for id_range in register_ranges(instance, tables, APPLICATIONS)]
    stretch = dg.PartitionKeyRange(found[1], found[4])

    with dg.partition_loading_context(dynamic_partitions_store=instance):
        resolved = partitions_of(APPLICATIONS).get_partition_keys_in_range(stretch)
    assert list(resolved) == found[1:5]


def test_a_table_outside_public_has_partitions_of_its_own() -> None:
    """Two tables of one name in two schemas do not share their ranges."""
    other = TextColumn(table="reviews", id="id", text="body", vector="body_embedding", schema="shop")
    assert partitions_name(other) != partitions_name(REVIEWS)


def test_two_columns_of_a_table_share_its_ranges() -> None:
    """Ranges are cut by the table's ids, which both have."""
    title = TextColumn(table="reviews", id="recommendationid", text="title", vector="title_v", run="title_v_run_id")
    assert partitions_name(title) == partitions_name(REVIEWS)


def test_keys_of_a_table_are_read_back_as_the_ranges_that_were_registered(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """What Dagster keeps is enough to know the ranges again."""
    ranges = register_ranges(instance, tables, REVIEWS)
    assert registered_ranges(instance, REVIEWS) == ranges


@pytest.mark.parametrize("dagster_home", ["", "absent", "empty"])
def test_definitions_load_without_an_instance_and_make_none(
    dagster_home: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout is validated where there is no database; a directory that Dagster was never given stays as it is."""
    (home / "empty").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home / dagster_home) if dagster_home else "")
    assert partitions_name(REVIEWS) == "reviews_id_range"
    assert [path.name for path in home.rglob("*")] == ["empty"]


@pytest.mark.parametrize(
    "variable",
    [
        "STEAM_ASSETS_DATABASE_URL",
        pytest.param("STEAM_ASSETS_DAGSTER_URL", marks=pytest.mark.slow),  # dagster-postgres tries for 17 s
    ],
)
def test_definitions_load_where_the_instance_s_database_is_away(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    """The ranges are then taken for those of the first cut, and whoever registers or runs others is told."""
    monkeypatch.setenv(variable, "postgresql://me@127.0.0.1:1/nowhere")
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", "postgresql://me@127.0.0.1:1/nowhere")
    directory = home / "dagster"
    directory.mkdir()
    configured = Path(__file__).parent.parent / "dagster.yaml"
    (directory / "dagster.yaml").write_text(configured.read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(directory))
    assert partitions_name(REVIEWS) == "reviews_id_range"
    assert "could not be read from the Dagster instance" in caplog.text


@pytest.fixture
def asked(instance: dg.DagsterInstance, tables: connection) -> dg.JobDefinition:
    """A job over the ranges of applications that only asks which they are."""
    register_ranges(instance, tables, APPLICATIONS)

    @dg.asset(partitions_def=partitions_of(APPLICATIONS))
    def ranges_asked_for(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(
            metadata={"keys": [bounds.key for bounds in requested_ranges(context, APPLICATIONS)]}
        )

    job = dg.define_asset_job("ask", selection=[ranges_asked_for])
    definitions = dg.Definitions([ranges_asked_for], jobs=[job], executor=dg.in_process_executor)
    return definitions.resolve_job_def("ask")


def execute_as_a_worker(instance: dg.DagsterInstance, job: dg.JobDefinition, run: dg.DagsterRun) -> str | None:
    """Execute a run that was asked for elsewhere; what went wrong first, if anything did."""
    ended = execute_run(InMemoryJob(job), run, instance, raise_on_error=False)
    for event in ended.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        assert error is not None
        return root_error(error).message
    return None


@pytest.mark.parametrize("key", ["000000000999:000000001999", "nonsense"])
def test_a_run_of_a_range_that_is_not_registered_says_so_and_what_to_do(
    instance: dg.DagsterInstance, asked: dg.JobDefinition, key: str
) -> None:
    """The message has the key, which may be mistyped, and the command that lists those there are."""
    run = instance.create_run_for_job(asked, tags={PARTITION_NAME_TAG: key})
    message = execute_as_a_worker(instance, asked, run)
    assert message is not None
    assert message.startswith(f"{UnregisteredRange.__module__}.{UnregisteredRange.__name__}: ")
    assert f"{key} is not among the ranges of applications_id_range" in message
    assert "`steam-assets ranges applications.description_embedding`" in message


def test_a_run_whose_range_was_deleted_while_it_waited_says_so(
    instance: dg.DagsterInstance, asked: dg.JobDefinition
) -> None:
    """Dagster looks at the keys when a run is asked for; by the time it runs they may be those of an older cut."""
    first, _, third, *_ = keys(instance)
    stretch = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: third}
    run = instance.create_run_for_job(asked, tags=stretch)
    instance.delete_dynamic_partition(partitions_name(APPLICATIONS), third)
    message = execute_as_a_worker(instance, asked, run)
    assert message is not None
    assert f"{first} to {third} is not among the ranges" in message
    assert "reload the code location" in message


def test_a_run_of_registered_ranges_gets_them_in_order(instance: dg.DagsterInstance, asked: dg.JobDefinition) -> None:
    """One key, or the first and the last of several."""
    found = keys(instance)
    stretch = {ASSET_PARTITION_RANGE_START_TAG: found[0], ASSET_PARTITION_RANGE_END_TAG: found[2]}
    for tags, expected in (({PARTITION_NAME_TAG: found[3]}, found[3:4]), (stretch, found[:3])):
        assert execute_as_a_worker(instance, asked, instance.create_run_for_job(asked, tags=tags)) is None
        event = instance.get_latest_materialization_event(dg.AssetKey("ranges_asked_for"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["keys"].value == expected
