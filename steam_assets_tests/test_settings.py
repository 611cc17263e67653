"""Settings come from the environment; the home is made where it may be, and refused by name where not."""

from pathlib import Path

import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import home as home_of
from steam_assets.settings import integer_setting, make_home, setting


def test_the_home_is_what_the_environment_names_or_dot_steam_assets_here(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone's home is inside it and ignored by git."""
    assert home_of() == home
    monkeypatch.delenv("STEAM_ASSETS_HOME")
    assert home_of() == Path.cwd() / ".steam_assets"
    monkeypatch.setenv("STEAM_ASSETS_HOME", "~/elsewhere")
    assert home_of() == Path("~/elsewhere").expanduser()


def test_directories_of_the_home_are_made_when_they_are_first_needed(home: Path) -> None:
    """Asking twice is fine."""
    assert make_home("logs") == make_home("logs") == home / "logs"
    assert (home / "logs").is_dir()


def test_a_home_that_cannot_be_made_is_named_with_the_way_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place stops even root; the message names the directory and the variable."""
    (home / "taken").touch()
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(home / "taken"))
    with pytest.raises(
        SteamAssetsError, match=r"home directory .*/taken/logs cannot be written.*Set STEAM_ASSETS_HOME"
    ):
        make_home("logs")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`STEAM_ASSETS_MODEL=` in a file takes the default, as leaving it out does."""
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "")
    assert setting("STEAM_ASSETS_MODEL") is None


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "1e3"])
def test_a_number_that_is_none_is_refused_with_the_variable_s_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers above 0 only."""
    monkeypatch.setenv("STEAM_ASSETS_BATCH_TOKENS", value)
    with pytest.raises(SteamAssetsError, match=f"STEAM_ASSETS_BATCH_TOKENS is '{value}'"):
        integer_setting("STEAM_ASSETS_BATCH_TOKENS")


def test_a_number_is_read_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set is used; what is not set is None."""
    assert integer_setting("STEAM_ASSETS_BATCH_TOKENS") is None
    monkeypatch.setenv("STEAM_ASSETS_BATCH_TOKENS", "4096")
    assert integer_setting("STEAM_ASSETS_BATCH_TOKENS") == 4096
