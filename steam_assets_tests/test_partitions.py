"""Id ranges are registered with Dagster once, ascending and without a hole, and stay what they are."""

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.defs.partitions import partitions_name, partitions_of, register_ranges, registered_ranges
from steam_assets.store.ranges import check_contiguous
from steam_assets_tests.rows import execute


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

    check_contiguous(applications)
    check_contiguous(reviews)
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
    check_contiguous(after)
    assert isinstance(after[-1].start, int)
    assert after[-1].start > 9050


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


def test_keys_of_a_table_are_read_back_as_the_ranges_that_were_registered(
    instance: dg.DagsterInstance, tables: connection
) -> None:
    """What Dagster keeps is enough to know the ranges again."""
    ranges = register_ranges(instance, tables, REVIEWS)
    assert registered_ranges(instance, REVIEWS) == ranges
