"""A home's Dagster instance is configured by the repository's files, whoever opens it."""

import os
from pathlib import Path

import dagster as dg

from steam_assets.defs.instance import configuration, open_instance, prepare_dagster_home


def test_the_home_gets_the_current_dagster_yaml_every_time(home: Path) -> None:
    """An older copy is replaced, so an upgrade is not undone by yesterday's file."""
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: true}\n")
    directory = prepare_dagster_home()

    assert directory == home / "dagster"
    assert (directory / "dagster.yaml").read_bytes() == configuration("dagster.yaml").read_bytes()


def test_processes_started_afterwards_find_the_same_instance(instance: dg.DagsterInstance, home: Path) -> None:
    """DAGSTER_HOME is in the environment from then on."""
    assert os.environ["DAGSTER_HOME"] == str(home / "dagster")
    instance.add_dynamic_partitions("shared", ["x"])
    with open_instance() as again:
        assert again.get_dynamic_partitions("shared") == ["x"]


def test_the_workspace_names_the_code_location_that_pyproject_names() -> None:
    """Two names would be two locations, and a warning on every load."""
    assert "location_name: steam_assets" in configuration("workspace.yaml").read_text()
