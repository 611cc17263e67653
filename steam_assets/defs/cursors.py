"""What a column's sensors remember from one tick to the next: small JSON, which Dagster keeps.

One that cannot be read is none: that costs a wait or a round, and no row.
"""

import json
from dataclasses import asdict, dataclass

from steam_assets.columns import IdType


@dataclass(frozen=True)
class NewRowsCursor:
    """The tick's time ``at``, the rows that waited then, since when any did, and when the next look is due.

    Times are seconds of the epoch.
    """

    at: float = 0.0
    rows: int = 0
    since: float | None = None
    rest_until: float = 0.0

    @classmethod
    def read(cls, cursor: str | None) -> "NewRowsCursor":
        """What the last tick wrote."""
        found = _fields(cursor)
        return cls(
            rows=_whole(found.get("rows")) or 0,
            since=_number(found.get("since")),
            rest_until=_number(found.get("rest_until")) or 0.0,
        )


@dataclass(frozen=True)
class ChangedTextsCursor:
    """The tick's time ``at``, the embedding run seen to, a newer one noticed, and the last id whose text was read."""

    at: float = 0.0
    run_id: int | None = None
    noticed: int | None = None
    after: int | str | None = None

    @classmethod
    def read(cls, cursor: str | None, id_type: IdType) -> "ChangedTextsCursor":
        """What the last tick wrote; an id is no index, so it is good for ranges that were cut anew."""
        found = _fields(cursor)
        after = found.get("after")
        return cls(
            run_id=_whole(found.get("run_id")),
            noticed=_whole(found.get("noticed")),
            after=_whole(after) if id_type == "bigint" else _storable(after),
        )


def written(cursor: NewRowsCursor | ChangedTextsCursor) -> str:
    """The JSON that ``read`` reads."""
    return json.dumps(asdict(cursor))


def _fields(cursor: str | None) -> dict[str, object]:
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _storable(value: object) -> str | None:
    """A text that PostgreSQL can hold."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None
    return value
