"""The address of an endpoint, and the way there: credentials are never in it, proxies are for the outside only."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from steam_assets.errors import SteamAssetsError

KEY = "STEAM_ASSETS_ENDPOINT_KEY"
CONNECTIONS = 8


class EndpointUnavailable(SteamAssetsError):
    """An endpoint that cannot be reached, or does not do what it should."""


def read_address(address: str) -> tuple[str, str, str | None]:
    """Place, base address and served name: https://host/v1#name gives https://host:443, https://host/v1 and name."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.username is not None or parts.password is not None or parts.query:
        raise EndpointUnavailable(
            "The endpoint's address holds a user, a password or a query; expected none, because addresses are logged. "
            f"Leave them out of STEAM_ASSETS_ENDPOINT and put the key into {KEY}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointUnavailable(
            f"{address!r} is no address of an endpoint; expected one like http://gpu:8080/v1. Correct "
            "STEAM_ASSETS_ENDPOINT."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = f"{parts.scheme}://{host}:{port or (443 if parts.scheme == 'https' else 80)}"
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return place, f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}", unquote(parts.fragment) or None


def connection_pool(base: str, headers: Mapping[str, str]) -> urllib3.PoolManager:
    """Connections to a server: through the environment's proxy, but never to this machine through one."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if proxy is None or is_loopback(host) or proxy_bypass(host):
        return urllib3.PoolManager(headers=headers, maxsize=CONNECTIONS)
    login = urlsplit(proxy)
    who = f"{unquote(login.username)}:{unquote(login.password or '')}" if login.username else None
    by = urllib3.make_headers(proxy_basic_auth=who)
    return urllib3.ProxyManager(proxy, headers=headers, proxy_headers=by, maxsize=CONNECTIONS)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def goes_unencrypted(base: str) -> bool:
    """Whether others on the way can read what is sent."""
    parts = urlsplit(base)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
