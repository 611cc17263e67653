"""Dagster's own tables: which database they are in. The tables themselves are dagster-postgres's."""

from collections.abc import Mapping

from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from steam_assets.settings import read_dotenv
from steam_assets.store.database import dagster_url, find_database


class DagsterDatabase(DagsterPostgresStorage):
    """dagster-postgres on ``STEAM_ASSETS_DAGSTER_URL``, by default the database `dagster` beside the data.

    Dagster builds this from dagster.yaml in every process it starts, so all of them agree, `dagster dev` included, and
    no address or password stands in a file.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No settings: the environment decides."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> "DagsterDatabase":
        """Connect, creating the database and the tables when they are not there."""
        read_dotenv()
        return cls(postgres_url=dagster_url(find_database()), inst_data=inst_data)
