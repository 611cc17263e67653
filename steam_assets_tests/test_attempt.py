"""What an attempt at a range came to, as an operator sees it: where its seconds went, and what it used."""

from dataclasses import asdict, replace

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.attempt import RangeReport
from steam_assets.columns import APPLICATIONS
from steam_assets.defs.assets import vector_key
from steam_assets.encoder.encoder import Work
from steam_assets.encoder.monitor import MonitorSummary
from steam_assets.stages import StageSeconds
from steam_assets.store.write import WriteCounts
from steam_assets_tests.dagster_home import materialize
from steam_assets_tests.rows import fetch

DONE = RangeReport(
    counts=WriteCounts(written=1_800, failed=200),
    seconds=10.0,
    monitor=MonitorSummary(seconds=10.0, gpu_energy_wh=0.5),
    work=Work(),
    memory_events=(),
    peak_memory_bytes=None,
    stages=StageSeconds(),
)


def test_energy_is_told_for_a_thousand_rows() -> None:
    """Every row that went through the encoder counts; half a watt hour for two thousand."""
    assert DONE.wh_per_1000_rows == 0.25


@pytest.mark.parametrize(
    "unknown",
    [replace(DONE, monitor=MonitorSummary(seconds=10.0)), replace(DONE, counts=WriteCounts(cleared=3))],
    ids=["no GPU that says it", "nothing was encoded"],
)
def test_energy_that_is_not_known_is_no_number(unknown: RangeReport) -> None:
    """A zero would be plotted."""
    assert unknown.wh_per_1000_rows is None


def test_each_stage_s_seconds_are_plotted_and_recorded(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """As numbers of the range's own materialization, the same as in its record; what is not known is left out."""
    materialize(instance, definitions, APPLICATIONS)
    (record,) = instance.fetch_materializations(vector_key(APPLICATIONS), limit=1).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    ((kept,),) = fetch(tables, "SELECT details -> 'stage_seconds' FROM embedding_run_ranges")
    assert isinstance(kept, dict)
    assert set(kept) == set(asdict(StageSeconds()))
    for stage, seconds in kept.items():
        plotted = metadata[f"{stage}_seconds"]
        assert isinstance(plotted, dg.FloatMetadataValue)
        assert plotted.value == seconds >= 0
    assert kept["forward"] > 0
    assert "wh_per_1000_rows" not in metadata
