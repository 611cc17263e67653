"""What is an endpoint's address, and what must not be in one."""

import pytest

from steam_assets.encoder.address import KEY, EndpointUnavailable, goes_unencrypted, read_address

SECRET = "sk-very-secret-0123456789"  # noqa: S105  # nobody's key


@pytest.mark.parametrize(
    "address", [f"http://me:{SECRET}@gpu/v1", f"http://{SECRET}@gpu/v1", f"https://gpu/v1?key={SECRET}"]
)
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    """Addresses are logged; the variable for keys is named."""
    with pytest.raises(EndpointUnavailable, match=KEY) as raised:
        read_address(address)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("address", ["gpu:8080", "ftp://gpu/v1", "http://", "http://gpu:port/v1", ""])
def test_what_is_no_address_is_told_with_an_example(address: str) -> None:
    """One that works is in the message."""
    with pytest.raises(EndpointUnavailable, match="http://gpu:8080/v1"):
        read_address(address)


def test_an_address_is_shown_as_scheme_host_and_port() -> None:
    """What is behind # is the name the model is served under; /embeddings may be written or not."""
    assert read_address("https://gpu/v1/") == ("https://gpu:443", "https://gpu/v1", None)
    assert read_address("http://[::1]:80/v1/embeddings#/data/m") == ("http://[::1]:80", "http://[::1]:80/v1", "/data/m")


def test_only_this_machine_is_safe_without_encryption() -> None:
    """By name and by both kinds of address."""
    here = ["http://localhost:8080/v1", "http://127.0.0.1/v1", "http://[::1]:80/v1", "https://gpu.example/v1"]
    assert [base for base in here if goes_unencrypted(base)] == []
    assert goes_unencrypted("http://gpu.example/v1")
    assert goes_unencrypted("http://localhost.example/v1")
