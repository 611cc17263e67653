"""A new recipe is one backfill, however often and from however many places it is asked for."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import PRIORITY_TAG

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.defs.in_progress import CAUSE_TAG, keys_to_do
from steam_assets.defs.recipes import _add_backfill, backfill_id, backfill_once
from steam_assets.id_range import IdRange

A, B, C = IdRange(None, 10), IdRange(10, 20), IdRange(20, 30)


def test_asking_twice_makes_one_backfill_of_low_priority(instance: dg.DagsterInstance) -> None:
    """A restart between the backfill and the cursor that remembers it asks again; its runs come after all others."""
    first = backfill_once(instance, APPLICATIONS, 7, [A, C])
    assert backfill_once(instance, APPLICATIONS, 7, [A, B, C]) == first
    (backfill,) = instance.get_backfills()
    assert keys_to_do(instance, backfill, APPLICATIONS) == {A.key, C.key}
    assert backfill.status is BulkActionStatus.REQUESTED
    assert backfill.tags == {PRIORITY_TAG: "-1", CAUSE_TAG: "new_recipe"}
    assert backfill.title is not None
    assert "applications.description_embedding" in backfill.title


def test_two_daemons_that_ask_at_once_make_one_backfill(instance: dg.DagsterInstance) -> None:
    """Both look before either adds; the second finds the first one's."""
    _add_backfill(instance, APPLICATIONS, backfill_id(APPLICATIONS, 7, 0), 7, [A])
    _add_backfill(instance, APPLICATIONS, backfill_id(APPLICATIONS, 7, 0), 7, [A])
    with ThreadPoolExecutor(8) as daemons:
        asked = [daemons.submit(backfill_once, instance, REVIEWS, 7, [B]) for _ in range(8)]
    assert len({future.result() for future in asked}) == 1
    assert len(instance.get_backfills()) == 2


@pytest.mark.parametrize("status", [BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.CANCELED])
def test_after_a_backfill_has_ended_there_can_be_another(
    instance: dg.DagsterInstance, status: BulkActionStatus
) -> None:
    """A column that goes back to an earlier model, and then to this one again, is filled again."""
    first = instance.get_backfill(backfill_once(instance, APPLICATIONS, 7, [A]))
    assert first is not None
    instance.update_backfill(first._replace(status=status))
    second = backfill_once(instance, APPLICATIONS, 7, [B])
    assert second != first.backfill_id
    assert backfill_once(instance, APPLICATIONS, 7, [C]) == second


def test_columns_and_runs_have_backfills_of_their_own_with_ids_that_dagster_can_keep() -> None:
    """Its column has room for 32 characters."""
    other = TextColumn(table="applications", id="appid", text="name", vector="name_embedding", run="name_run_id")
    ids = {backfill_id(column, run_id, 0) for column in (*COLUMNS, other) for run_id in (1, 2)}
    assert len(ids) == 6
    assert len(backfill_id(REVIEWS, 2**63 - 1, 99)) <= 32
