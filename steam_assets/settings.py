"""Where settings come from: the environment, then `.env`. What they mean is said where they are used."""

import os
from pathlib import Path

from steam_assets.errors import SteamAssetsError


def read_dotenv() -> None:
    """Read `.env` of the working directory or a parent; variables that are already set win."""
    from dotenv import find_dotenv, load_dotenv

    load_dotenv(find_dotenv(usecwd=True), override=False)


def home() -> Path:
    """The directory of embedded data, logs and Dagster's files: ``STEAM_ASSETS_HOME``, else ``.steam_assets`` here."""
    return Path(os.environ.get("STEAM_ASSETS_HOME") or ".steam_assets").expanduser().resolve()


def make_home(*parts: str) -> Path:
    """A directory in the home, created when it is not there; raises when that is not possible."""
    directory = home().joinpath(*parts)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(f"no right to write {directory}")
    except OSError as error:
        raise SteamAssetsError(
            f"The home directory {directory} cannot be written: {error.strerror or error}. "
            "Set STEAM_ASSETS_HOME to a directory that you may write."
        ) from None
    return directory


def setting(name: str) -> str | None:
    """A variable's value; empty counts as not set."""
    return os.environ.get(name) or None


def flag_setting(name: str) -> bool:
    """A variable that is on or off; not set is off."""
    value = (setting(name) or "0").lower()
    if value not in ("0", "1", "false", "true", "no", "yes", "off", "on"):
        raise SteamAssetsError(f"{name} is {value!r}; expected 0 or 1.")
    return value in ("1", "true", "yes", "on")


def number_setting(name: str) -> float | None:
    """A variable that holds a number from 0 on."""
    value = setting(name)
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise SteamAssetsError(f"{name} is {value!r}; expected a number from 0 on.")
    return number


def integer_setting(name: str) -> int | None:
    """A variable that holds a positive whole number."""
    value = setting(name)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise SteamAssetsError(f"{name} is {value!r}; expected a whole number above 0.")
    return int(value)
