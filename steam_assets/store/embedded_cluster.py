"""Making an empty data directory, by initdb. Starting a server on it is embedded_postmaster.py."""

import logging
import shutil
from pathlib import Path

from steam_assets.store.embedded_account import Account

logger = logging.getLogger(__name__)

# builtin C.UTF-8: the same order and the same white space on every machine, whatever its locales.
LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def make_cluster(data: Path, programs: Path, account: Account) -> None:
    """Make an empty cluster beside its place and move it there, so that a killed initdb leaves nothing half-made."""
    logger.info("creating the embedded database in %s", data)
    unfinished = data.with_name(f"{data.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    initdb(unfinished, programs, account)
    if data.exists():
        data.rmdir()  # an empty directory is fine; anything else is not ours to replace
    unfinished.rename(data)


def initdb(data: Path, programs: Path, account: Account, *options: str) -> None:
    """Make a directory with an empty cluster in it; raises OSError with initdb's words."""
    data.mkdir(mode=0o700)
    account.own(data)
    made = account.run(
        (programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", *LOCALE, *options)
    )
    if made.returncode != 0:
        raise OSError(f"initdb says: {made.stderr.strip()}")
