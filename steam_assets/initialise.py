"""What `init` does to a database: complete its schema, and give columns without a model theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn, check_registry
from steam_assets.encoder.models import DEFAULT_MODEL, Model, find_model
from steam_assets.settings import setting
from steam_assets.store.runs import column_runs
from steam_assets.store.schema import SchemaPlan, apply_schema, plan_schema
from steam_assets.store.schema_version import schema_version
from steam_assets.targets import ModelMismatch, check_entry_agrees, choose_first_model, model_of


@dataclass(frozen=True)
class Initialised:
    """The plan, carried out unless it was a dry run, and the model of the columns, or the models of each."""

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
    models = models_for_init(conn, columns, columns if schema_version(conn) else (), model_name)
    plan = plan_schema(conn, columns, {column: model.dimension for column, model in models.items()}, indexed)
    names = [models[column].name for column in columns]
    if dry_run:
        conn.rollback()
    else:
        apply_schema(conn, plan)
        names = [choose_first_model(conn, column, models[column], columns).model_name for column in columns]
    return Initialised(plan, ", ".join(dict.fromkeys(names)))


def models_for_init(
    conn: connection, columns: Sequence[TextColumn], present: Sequence[TextColumn], asked: str | None
) -> dict[TextColumn, Model]:
    """Each column's model: the one that its entry names, else the one of all the others; ``present`` may have runs."""
    shared = [column for column in columns if column.model is None]
    found: dict[TextColumn, Model] = {}
    if shared:
        common = model_for_init(conn, [column for column in shared if column in present], asked)
        found = dict.fromkeys(shared, common)
    for column in columns:
        if column.model is not None:
            run = column_runs(conn, column).target if column in present else None
            if run is not None:
                check_entry_agrees(run, column)
            found[column] = find_model(column.model) if run is None else model_of(run, column)
    return found


def model_for_init(conn: connection, columns: Sequence[TextColumn], asked: str | None) -> Model:
    """The model of columns that name none: ``asked``, else ``STEAM_ASSETS_MODEL``, else what they have, else bge-m3.

    Raises ModelMismatch unless each that has a model has the one that is asked for.
    """
    present = {column: column_runs(conn, column).target for column in columns}
    filled = {column: run for column, run in present.items() if run is not None}
    wanted = asked or setting("STEAM_ASSETS_MODEL")
    if wanted is None and filled:
        column, run = next(iter(filled.items()))
        return model_of(run, column)
    model = find_model(wanted or DEFAULT_MODEL, setting("STEAM_ASSETS_MODEL_REVISION"))
    for column, run in filled.items():
        if model.name != run.model_name:
            raise ModelMismatch(
                f"{column} is filled with {run.model_name}, and {model.name} was asked for. Keep the first by "
                f"unsetting STEAM_ASSETS_MODEL, or change it with `steam-assets embed {column} --model {model.name}`."
            )
    return model
