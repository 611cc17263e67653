"""A load is shown by Dagster as a materialization of the table, and its new ids have ranges at once."""

import json
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.defs.assets import table_key
from steam_assets.defs.loads import load_and_report
from steam_assets.defs.partitions import register_ranges, registered_ranges
from steam_assets.store.files import find_files
from steam_assets.store.load import LoadProgress
from steam_assets.store.read import count_pending_by_range


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """A file of rows, one JSON object a line."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_load_is_a_materialization_of_its_table_with_its_counts(
    instance: dg.DagsterInstance, tables: connection, home: Path
) -> None:
    """The UI shows the file and what became of its rows, without a run."""
    file = write_jsonl(home / "applications.jsonl", [{"appid": 10, "name": "Renamed"}, {"appid": 9990, "name": "New"}])
    (report,) = load_and_report(instance, tables, find_files([file]), COLUMNS, lambda progress: None)

    assert (report.inserted, report.updated) == (1, 1)
    event = instance.get_latest_materialization_event(table_key(APPLICATIONS))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert metadata["file"] == report.file
    assert (metadata["read"], metadata["inserted"], metadata["updated"], metadata["rejected"]) == (2, 1, 1, 0)


def test_loaded_ids_fall_in_registered_ranges_and_only_their_table_is_reported(
    instance: dg.DagsterInstance, tables: connection, home: Path
) -> None:
    """After a load of applications a backfill of all their partitions finds every row; reviews were not touched."""
    file = write_jsonl(home / "applications.jsonl", [{"appid": 123_456, "name": "Far beyond"}])
    load_and_report(instance, tables, find_files([file]), COLUMNS, lambda progress: None)

    stop = registered_ranges(instance, APPLICATIONS)[-1].stop
    assert isinstance(stop, int)
    assert stop > 123_456
    assert registered_ranges(instance, REVIEWS) == []
    assert instance.get_latest_materialization_event(table_key(REVIEWS)) is None


def test_ranges_of_a_first_load_are_cut_when_all_of_it_is_there(
    instance: dg.DagsterInstance, conn: connection, other_conn: connection, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sensor that looks half-way would have all later rows in the last range, for ever."""
    monkeypatch.setattr("steam_assets.store.ranges.ROWS_PER_RANGE", 10)
    files = [
        write_jsonl(
            home / f"applications_{number}.jsonl",
            [{"appid": 1000 * number + n, "name": f"Game {n}"} for n in range(60)],
        )
        for number in (1, 2)
    ]
    seen = []

    def look(progress: LoadProgress) -> None:
        seen.append(register_ranges(instance, other_conn, APPLICATIONS))

    load_and_report(instance, conn, find_files(files), COLUMNS, look)
    assert seen
    assert not any(seen)
    ranges = registered_ranges(instance, APPLICATIONS)
    assert [found.rows for found in count_pending_by_range(conn, APPLICATIONS, 0, ranges)] == [*[10] * 12, 0]
