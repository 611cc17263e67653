"""Which HTTP status an error is, and what of it a stranger may read. The rest goes to the log, under an id."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg2

from steam_assets.encoder.backend import CannotEmbed
from steam_assets.errors import SteamAssetsError
from steam_assets.search import NoSuchRow, NothingServed, SearchError, SearchTimeout
from steam_assets.store.database import DatabaseUnavailable, is_connection_lost

RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)


class Busy(SteamAssetsError):
    """More searches wait than will be answered in time."""


class UnknownColumn(SearchError):
    """There is no column of this name, or it is not one that searches read."""


class WrongQuestion(SearchError):
    """Parts of a question that do not go together."""


@dataclass(frozen=True)
class Refusal:
    """An HTTP status with its message."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


# The first that fits; subclasses stand before their classes.
STATUS: tuple[tuple[type[SteamAssetsError], int], ...] = (
    (NoSuchRow, 404),
    (UnknownColumn, 404),
    (NothingServed, 409),
    (SearchTimeout, 503),
    (Busy, 503),
    (SearchError, 422),
    (CannotEmbed, 422),
)


def refusal_of(error: Exception) -> Refusal:
    """The answer to a request that raised ``error``; what is not the asker's to know is logged."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            return Refusal(status, str(error), retry_later() if status == 503 else {})
    number = secrets.token_hex(4)
    if isinstance(error, DatabaseUnavailable) or is_connection_lost(error):
        # Its message names host, user and database.
        logger.warning("The database is away (%s): %s", number, " ".join(str(error).split()))
        return Refusal(503, f"The database does not answer. Ask again; the log has more under {number}.", retry_later())
    if isinstance(error, SteamAssetsError):
        logger.error("No answer (%s): %s", number, error)
        return Refusal(503, f"This cannot be answered now. The log of `steam-assets serve` says why under {number}.")
    kind_of_bug = "The database refused a statement" if isinstance(error, psycopg2.Error) else "Unexpected error"
    logger.error("%s (%s)", kind_of_bug, number, exc_info=error)
    return Refusal(500, f"Something went wrong here. The log of `steam-assets serve` has it under {number}.")


def retry_later() -> dict[str, str]:
    """The header that says when to ask again."""
    return {"Retry-After": str(RETRY_AFTER_S)}
