"""Contiguous stretches of ids, and their names as partition keys. Cutting a table into them is store/ranges.py."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from steam_assets.columns import IdType
from steam_assets.errors import SteamAssetsError

OPEN = "~"
INTEGER_DIGITS = 12
# Dagster puts keys into URLs, tags and SQL; these characters survive all three, and 1,000 bytes fit its columns.
KEY = re.compile(r"[A-Za-z0-9_~%:-]{1,1000}")
BOUND_BYTES = 499
"""One encoded bound: two of them and the colon make a key of at most 999 bytes."""


class BadPartitionKey(SteamAssetsError):
    """A partition key that no IdRange has."""


@dataclass(frozen=True)
class IdRange:
    """Ids from ``start`` up to, not including, ``stop``; None leaves that end open.

    Ends are compared by the database, in the column's own collation, and never here: IdRange("b", "B") may hold rows.
    """

    start: int | str | None
    stop: int | str | None

    def __post_init__(self) -> None:
        if self.start is None or self.stop is None:
            return
        if type(self.start) is not type(self.stop):
            raise BadPartitionKey(f"Both ends of an id range have one type; found {self.start!r} and {self.stop!r}.")
        if self.start == self.stop or (isinstance(self.start, int) and self.start > int(self.stop)):
            raise BadPartitionKey(f"An id range starts before it stops; found {self.start!r} to {self.stop!r}.")

    @property
    def key(self) -> str:
        """The partition key: ``start:stop``, ``~`` for an open end."""
        return f"{encode_bound(self.start)}:{encode_bound(self.stop)}"

    @classmethod
    def from_key(cls, key: str, id_type: IdType) -> "IdRange":
        """The range a key names; raises BadPartitionKey for anything ``key`` does not produce."""
        if not KEY.fullmatch(key) or key.count(":") != 1:
            raise BadPartitionKey(
                f"{key[:80]!r} is not a partition key; expected start:stop as `steam-assets ranges` shows."
            )
        start, stop = (_decode_bound(bound, id_type) for bound in key.split(":"))
        found = cls(start, stop)
        if found.key != key:
            raise BadPartitionKey(f"{key[:80]!r} is not how this range is written; expected {found.key!r}.")
        return found


EVERYTHING = IdRange(None, None)


def encode_bound(bound: int | str | None) -> str:
    """One end of a key: 70 -> 000000000070, "a b" -> a%20b, None -> ~."""
    if bound is None:
        return OPEN
    if isinstance(bound, int):
        return f"{bound:0{INTEGER_DIGITS + (bound < 0)}d}"
    # quote() leaves "." and "~" as they are; the first is not in our alphabet, the second means an open end.
    return quote(bound, safe="").replace(".", "%2E").replace("~", "%7E")


def _decode_bound(bound: str, id_type: IdType) -> int | str | None:
    if bound == OPEN:
        return None
    try:
        return int(bound) if id_type == "bigint" else unquote_to_bytes(bound).decode()
    except ValueError:
        raise BadPartitionKey(f"{bound[:80]!r} is not a {id_type} id.") from None
