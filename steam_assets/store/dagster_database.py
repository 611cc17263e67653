"""The database of Dagster's own tables: beside the data, or where STEAM_ASSETS_DAGSTER_URL says."""

from contextlib import closing
from urllib.parse import quote, urlencode

from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import setting
from steam_assets.store.database import (
    DatabaseAddress,
    DatabaseUnavailable,
    connect,
    create_database,
    find_database,
    read_address,
    system_user,
)


def dagster_address(address: DatabaseAddress) -> DatabaseAddress:
    """Where Dagster's tables are, or will be: STEAM_ASSETS_DAGSTER_URL, or the database ``dagster`` beside the data."""
    if value := setting("STEAM_ASSETS_DAGSTER_URL"):
        return read_address(value, "STEAM_ASSETS_DAGSTER_URL")
    return address.with_database("dagster")


def dagster_url(address: DatabaseAddress) -> str:
    """SQLAlchemy's URL for Dagster's own tables; the database beside the data is created when it is absent.

    Raises SteamAssetsError where we may not.
    """
    beside = dagster_address(address)
    if beside.source == "STEAM_ASSETS_DAGSTER_URL":
        return sqlalchemy_url(beside)
    try:
        create_database(address, "dagster")
        _check_dagster_can_work(beside)
    except (errors.InsufficientPrivilege, DatabaseUnavailable) as error:
        raise SteamAssetsError(
            f"Dagster's runs and events cannot be kept in {beside.description}: {str(error).strip()}. "
            "Set STEAM_ASSETS_DAGSTER_URL to a database for them, or have the administrator create this one."
        ) from None
    return sqlalchemy_url(beside)


def connect_dagster() -> connection:
    """A connection to Dagster's database, which is created where it is absent and beside the data."""
    address = find_database()
    dagster_url(address)
    return connect(dagster_address(address))


def _check_dagster_can_work(address: DatabaseAddress) -> None:
    """Raise where Dagster's tables are absent and this user may not create them."""
    with closing(connect(address)) as conn, conn.cursor() as cursor:
        cursor.execute(
            """
            SELECT to_regclass('runs') IS NOT NULL
                OR COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)
            """
        )
        if cursor.fetchone() != (True,):
            raise DatabaseUnavailable("this user may not create tables in it")


def sqlalchemy_url(address: DatabaseAddress) -> str:
    """The address as SQLAlchemy writes it; the password stands where its repr hides one."""
    words = address.words
    place = ""
    password = words.pop("password", "")
    if user := words.pop("user", "") or (system_user() if password else ""):
        place = quote(user, safe="")
        if password:
            place += f":{quote(password, safe='')}"
        place += "@"
    if not words.get("host", "/").startswith("/") and "," not in words["host"]:
        host = words.pop("host")
        place += f"[{host}]" if ":" in host else host
        if port := words.pop("port", ""):
            place += f":{port}"
    database = quote(words.pop("dbname", ""), safe="")
    return f"postgresql+psycopg2://{place}/{database}" + (f"?{urlencode(words)}" if words else "")
