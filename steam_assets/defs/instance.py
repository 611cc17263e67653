"""The Dagster instance of this home: where its files are, and what is reported to it from outside a run."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from steam_assets.settings import make_home

PACKAGE = Path(__file__).parent.parent


def configuration(name: str) -> Path:
    """dagster.yaml or workspace.yaml: in a clone beside the package, in an installed wheel inside it."""
    beside, inside = PACKAGE.parent / name, PACKAGE / name
    return inside if inside.exists() else beside


def prepare_dagster_home() -> Path:
    """Make <home>/dagster with the current dagster.yaml, and name it to Dagster and all processes started from here."""
    directory = make_home("dagster")
    shutil.copyfile(configuration("dagster.yaml"), directory / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(directory)
    return directory


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that the web UI shows."""
    prepare_dagster_home()
    with dg.DagsterInstance.get() as instance:
        yield instance
