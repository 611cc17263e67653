"""The code location loads as Dagster's own tools load it, without a word of complaint about ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import steam_assets
from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.definitions import build_definitions, defs
from steam_assets.defs.resources import GpuResource
from steam_assets.errors import SteamAssetsError

CHECKOUT = Path(steam_assets.__file__).parent.parent
BIN = Path(sys.executable).parent


def test_everything_the_definitions_hold_fits_together() -> None:
    """Resources, IO managers, jobs and checks resolve."""
    dg.Definitions.validate_loadable(defs)


def test_settings_of_the_environment_reach_the_gpu_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that the web UI starts have no options, only the environment."""
    monkeypatch.setenv("STEAM_ASSETS_DEVICE", "cpu")
    monkeypatch.setenv("STEAM_ASSETS_DTYPE", "fp32")
    monkeypatch.setenv("STEAM_ASSETS_BATCH_TOKENS", "2048")
    gpu = (build_definitions().resources or {})["gpu"]

    assert isinstance(gpu, GpuResource)
    assert (gpu.device, gpu.dtype, gpu.batch_tokens) == ("cpu", "fp32", 2048)


def test_a_setting_that_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable, what it holds and what it should."""
    monkeypatch.setenv("STEAM_ASSETS_BATCH_TOKENS", "many")
    with pytest.raises(SteamAssetsError, match="STEAM_ASSETS_BATCH_TOKENS is 'many'; expected a whole number"):
        build_definitions()


def test_a_registry_whose_columns_overwrite_each_other_does_not_load() -> None:
    """Two vector columns with one run column would each undo the other's work."""
    second = TextColumn(table="applications", id="appid", text="name", vector="name_embedding")
    with pytest.raises(SteamAssetsError, match=r"both write applications\.embedding_run_id"):
        build_definitions((APPLICATIONS, second))


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("dagster", "definitions", "validate", "-w", "workspace.yaml"), ("dg", "check", "defs")],
    ids=["dagster_definitions_validate", "dg_check_defs"],
)
def test_dagster_s_own_validators_accept_the_checkout(
    command: tuple[str, ...], instance: dg.DagsterInstance, home: Path
) -> None:
    """What CI and an editor run passes, and prints no warning about our code or configuration."""
    ended = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    warnings = [line for line in said.splitlines() if re.search(r"warn|deprecat|preview|beta", line, re.I)]
    # The older of the two commands says of itself that the newer is preferred.
    assert [line for line in warnings if "definitions_validate_command" not in line] == []
