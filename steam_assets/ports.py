"""Addresses that our servers listen on: what a browser calls them, and what to do where one cannot be had."""

import errno

from steam_assets.errors import SteamAssetsError

LAST_PORT = 65_535


class PortBusy(SteamAssetsError):
    """The address cannot be listened on."""


def port_busy(error: OSError, host: str, port: int, verb: str, option: str = "--port") -> PortBusy:
    """The error for people: what is in the way of `steam-assets VERB`, and the option that avoids it."""
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < LAST_PORT else port - 1
        why = (
            f"another program listens there, perhaps another `steam-assets {verb}`. Stop it, or choose another port "
            f"with {option} {other}."
        )
    elif error.errno == errno.EACCES:
        why = f"{error.strerror}. Choose a port above 1023 with {option}."
    else:
        why = f"{error.strerror}. Name an address of this machine with --host."
    return PortBusy(f"Port {port} on {host} cannot be used: {why}")


def url_of(host: str, port: int) -> str:
    """Where a browser finds it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
