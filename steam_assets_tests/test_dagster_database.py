"""Dagster's tables have a database of their own: beside the data, or where a variable says, and no password is seen."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy

from steam_assets.errors import SteamAssetsError
from steam_assets.store.dagster_database import dagster_url, sqlalchemy_url
from steam_assets.store.database import find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets_tests.servers import EVERY_SPECIAL_CHARACTER, user_with_password


@pytest.fixture
def password_user(server: EmbeddedServer) -> Iterator[str]:
    """A user who needs a password, `right-s3cret`, and may create nothing; the name of the role."""
    with user_with_password(server, "careful", "right-s3cret") as name:
        yield name


def test_dagsters_database_is_made_beside_the_data(home: Path) -> None:
    """By default Dagster's tables are in the database `dagster` of the same server, under SQLAlchemy's URL."""
    address = find_database()
    url = dagster_url(address)
    assert url.startswith("postgresql+psycopg2://")
    assert dagster_url(address) == url
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as conn:
        assert conn.execute(sqlalchemy.text("SELECT current_database()::text")).scalar() == "dagster"
    engine.dispose()


def test_dagsters_database_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """STEAM_ASSETS_DAGSTER_URL wins, and special characters survive."""
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", "postgresql://da%40g:p%2Fw@runs.example:5439/ops?sslmode=require")
    url = sqlalchemy.make_url(dagster_url(find_database("postgresql://u@data.example/steam")))
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg2", "da@g", "p/w")
    assert (url.host, url.port, url.database, dict(url.query)) == (
        *("runs.example", 5439, "ops"),
        {"sslmode": "require"},
    )


def test_without_the_right_to_create_dagsters_database_the_variable_is_named(
    database_url: str, password_user: str
) -> None:
    """Wrong configuration, exit code 2, and what to set."""
    with pytest.raises(
        SteamAssetsError, match=r"(permission denied|may not create).*STEAM_ASSETS_DAGSTER_URL"
    ) as caught:
        dagster_url(find_database(database_url.replace("postgres@", f"{password_user}:right-s3cret@")))
    assert caught.value.exit_code == 2
    assert "s3cret" not in str(caught.value)


def test_any_password_reaches_dagsters_storage_and_no_message_of_it(server: EmbeddedServer, database_url: str) -> None:
    """SQLAlchemy gets the password as it was given, hides it in its repr, and its errors do not repeat it."""
    with user_with_password(server, "odd", EVERY_SPECIAL_CHARACTER):
        for given, opens in ((EVERY_SPECIAL_CHARACTER, True), (f"{EVERY_SPECIAL_CHARACTER}!", False)):
            address = find_database(database_url.replace("postgres@", f"odd:{quote(given, safe='')}@"))
            engine = sqlalchemy.create_engine(sqlalchemy_url(address))
            assert not shown(repr(engine.url) + repr(engine), given)
            if opens:
                engine.connect().close()
            else:
                with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed") as caught:
                    engine.connect()
                assert not shown(f"{caught.value} {caught.value!r}", given)
            engine.dispose()


def test_a_password_without_a_user_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy shows what stands behind the question mark, so a password never does: libpq's user is named."""
    monkeypatch.setenv("USER", "me")
    monkeypatch.setenv("LOGNAME", "me")
    url = sqlalchemy.make_url(sqlalchemy_url(find_database("host=h dbname=d password=s3cret")))
    assert (url.username, url.password, dict(url.query)) == ("me", "s3cret", {})
    assert "s3cret" not in repr(url)


def shown(text: str, password: str) -> bool:
    """Whether a text shows the password, as it is or as a URL writes it."""
    return any(form in text for form in (password, quote(password), quote_plus(password)))
