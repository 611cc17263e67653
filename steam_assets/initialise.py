"""What `init` does to a database: complete its schema, and give columns without a model theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn, check_registry
from steam_assets.store.schema import SchemaPlan, apply_schema, plan_schema
from steam_assets.store.schema_version import schema_version
from steam_assets.targets import choose_first_model, model_for_init


@dataclass(frozen=True)
class Initialised:
    """The plan, carried out unless it was a dry run, and the model of the columns that had none."""

    plan: SchemaPlan
    model_name: str


def initialise(
    conn: connection,
    columns: Sequence[TextColumn],
    model_name: str | None = None,
    dry_run: bool = False,
    indexed: bool = True,
) -> Initialised:
    """Create or complete the schema for ``columns``, from whatever version, and choose their model; again changes
    nothing. Does not commit: the plan's steps after the commit are build_after_commit's."""
    check_registry(tuple(columns))
    model = model_for_init(conn, columns if schema_version(conn) else (), model_name)
    plan = plan_schema(conn, columns, model.dimension, indexed)
    if dry_run:
        conn.rollback()
        return Initialised(plan, model.name)
    apply_schema(conn, plan)
    for column in columns:
        choose_first_model(conn, column, model)
    return Initialised(plan, model.name)
