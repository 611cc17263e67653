"""Devices that another process has, as an `embed` that goes on for hours would."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from steam_assets.encoder.devices import cpu_workers
from steam_assets_tests.rows import Connect

TAKE = "SELECT pg_advisory_lock(hashtextextended('steam_assets device ' || %s, 0))"


@contextmanager
def devices_taken(connect: Connect, for_s: float) -> Iterator[str]:
    """All of this host's places on the CPU are taken, so long or until the block ends; the name of the first."""
    names = [device.identity for device in cpu_workers()]
    other = connect()
    with other.cursor() as cursor:
        for name in names:
            cursor.execute(TAKE, (name,))
    given_back = Timer(for_s, other.close)
    given_back.start()
    try:
        yield names[0]
    finally:
        given_back.cancel()
        other.close()
