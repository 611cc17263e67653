"""Where a server cannot listen, the message says what is in the way and which option avoids it."""

import errno
import os

import pytest

from steam_assets.ports import port_busy, url_of


@pytest.mark.parametrize(
    ("number", "port", "said"),
    [
        (errno.EADDRINUSE, 80, "another `steam-assets up`. Stop it, or choose another port with --port 81."),
        (errno.EADDRINUSE, 65_535, "choose another port with --port 65534."),
        (errno.EACCES, 80, "Permission denied. Choose a port above 1023 with --port."),
        (errno.EADDRNOTAVAIL, 8000, "Cannot assign requested address. Name an address of this machine with --host."),
    ],
    ids=["in use", "the last one in use", "of the system", "of another machine"],
)
def test_a_port_that_cannot_be_had_is_told_with_what_helps(number: int, port: int, said: str) -> None:
    """Another program is blamed only where there is one, and no port is proposed that does not exist."""
    told = str(port_busy(OSError(number, os.strerror(number)), "1.2.3.4", port, "up"))
    assert told.startswith(f"Port {port} on 1.2.3.4 cannot be used: ")
    assert told.endswith(said)
    assert ("another program" in told) == (number == errno.EADDRINUSE)


def test_an_address_is_what_a_browser_takes() -> None:
    """The colons of IPv6 stand in brackets."""
    assert (url_of("127.0.0.1", 80), url_of("::1", 80)) == ("http://127.0.0.1:80", "http://[::1]:80")
