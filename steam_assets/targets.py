"""Which model fills which column: chosen at init, changed on request, or taken over with vectors that are there."""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn, rivals
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model, find_model
from steam_assets.encoder.preparation import Preparation, find_preparation, find_recorded
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import setting
from steam_assets.store.adopt import ADOPTION_SAMPLE, adopt_vectors, count_adoptable, sample_vectors
from steam_assets.store.database import DatabaseUnavailable
from steam_assets.store.promotions import follow, serving_columns
from steam_assets.store.read import has_pending
from steam_assets.store.runs import (
    ColumnRuns,
    EmbeddingRun,
    column_runs,
    find_or_create_run,
    get_run,
    set_serving,
    set_target,
)
from steam_assets.store.status import is_initialised

ADOPTION_COSINE = 0.999


class ModelUnavailable(SteamAssetsError):
    """The model that a run was made with cannot be found here, or is another one by now."""


class PreparationChanged(SteamAssetsError):
    """A column's texts are prepared in another way than its run says."""


class ModelMismatch(SteamAssetsError):
    """The environment names one model and the database another."""


def target_run(conn: connection, column: TextColumn) -> EmbeddingRun:
    """The run that the column is being filled with; raises when `init` has not chosen one."""
    target = column_runs(conn, column).target if is_initialised(conn) else None
    if target is None:
        raise SteamAssetsError(f"{column} has no model yet. Run `steam-assets init` to choose one.")
    return target


@dataclass(frozen=True)
class RunToSearch:
    """The run whose vectors a search of a column reads; ``notice`` says why it is not one that the column serves."""

    run: EmbeddingRun
    notice: str | None = None


def run_to_search(conn: connection, column: TextColumn) -> RunToSearch:
    """The column's serving run; of a column that serves nothing, such as a challenger, the run it is being filled with.

    Raises SteamAssetsError when there is neither. How many rows have a vector of another run is the search's to say.
    """
    runs = column_runs(conn, column) if is_initialised(conn) else ColumnRuns(None, None)
    if runs.serving is not None:
        return RunToSearch(runs.serving)
    if runs.target is None:
        raise SteamAssetsError(
            f"{column} serves no run yet. Run `steam-assets init`, then `steam-assets embed {column}`."
        )
    return RunToSearch(
        runs.target,
        f"{column} is searched because it was named: it serves no searches until `steam-assets promote {column}`",
    )


def searched_columns(conn: connection, columns: Sequence[TextColumn]) -> list[TextColumn]:
    """Those of ``columns`` that searches read, in their order; none before `init`."""
    return serving_columns(conn, columns) if is_initialised(conn) else []


def column_to_search(conn: connection, columns: Sequence[TextColumn]) -> TextColumn:
    """The first of a table's columns that searches read; before any is, the first."""
    return next(iter(searched_columns(conn, columns)), columns[0])


def run_of_model(conn: connection, column: TextColumn, model: Model) -> int:
    """The id of the run that stands for this model and the column's preparation."""
    recipe = model.recipe(find_preparation(column.preparation))
    return find_or_create_run(conn, model.name, model.dimension, model.normalized, recipe)


def choose_first_model(
    conn: connection, column: TextColumn, model: Model, columns: Sequence[TextColumn] = ()
) -> EmbeddingRun:
    """Give a column without a target this model's run, to fill and to serve; one that has a target keeps it.

    It serves nothing while a rival of it among ``columns`` does: `steam-assets promote` moves searches to it.
    """
    runs = column_runs(conn, column)
    if runs.target is not None:
        return runs.target
    run_id = run_of_model(conn, column, model)
    set_target(conn, column, run_id)
    if not serving_columns(conn, rivals(column, columns)):
        set_serving(conn, column, run_id)
    return get_run(conn, run_id)


def change_model(conn: connection, column: TextColumn, model: Model) -> EmbeddingRun:
    """Fill the column with another model from now on; searches go on reading the old run until the column is complete.

    Raises SteamAssetsError when the dimension differs, such a model needs a column of its own; and ModelMismatch when
    the column's entry names a model and this is not it.
    """
    run = target_run(conn, column)
    if column.model not in (None, model.name) and find_model(str(column.model)).name != model.name:
        raise ModelMismatch(
            f"columns.py says model={column.model!r} for {column}, and {model.name} was asked for. Write it there, and "
            f"repeat `steam-assets embed {column} --model {model.name}`."
        )
    if model.dimension != run.dimension:
        raise SteamAssetsError(
            f"{column} holds vectors of {run.dimension} numbers and {model.name} gives {model.dimension}. "
            "Add an entry with a vector column of its own to steam_assets/columns.py, and run `steam-assets init`."
        )
    run_id = run_of_model(conn, column, model)
    set_target(conn, column, run_id)
    return get_run(conn, run_id)


def follow_target(conn: connection, column: TextColumn) -> bool:
    """Let searches of a column that serves read its target run once nothing is pending; say whether anything changed.

    A column that serves nothing goes on serving nothing until it is promoted.
    """
    runs = column_runs(conn, column)
    if runs.target is None or runs.serving is None or runs.serving.run_id == runs.target.run_id:
        return False
    if has_pending(conn, column, runs.target.run_id):
        return False
    return follow(conn, column, runs.serving.run_id, runs.target.run_id)


def configured_model(connect: Callable[[], connection], columns: Sequence[TextColumn]) -> Model | None:
    """The model of the first column that has one, else what ``STEAM_ASSETS_MODEL`` names; None without either."""
    with suppress(DatabaseUnavailable), closing(connect()) as conn:
        for column in columns if is_initialised(conn) else ():
            if (run := column_runs(conn, column).target) is not None:
                return model_of(run, column)
    wanted = setting("STEAM_ASSETS_MODEL")
    return None if wanted is None else find_model(wanted, setting("STEAM_ASSETS_MODEL_REVISION"))


def check_environment_agrees(run: EmbeddingRun, column: TextColumn) -> None:
    """Raise when the column's entry, or for one that names no model ``STEAM_ASSETS_MODEL``, names another one."""
    if column.model is not None:
        check_entry_agrees(run, column)
        return
    wanted = setting("STEAM_ASSETS_MODEL")
    if wanted is not None and find_model(wanted, setting("STEAM_ASSETS_MODEL_REVISION")).name != run.model_name:
        raise ModelMismatch(
            f"STEAM_ASSETS_MODEL is {wanted}, and {column} is filled with {run.model_name}. Unset the variable, "
            f"or change the column's model with `steam-assets embed {column} --model {wanted}`."
        )


def check_entry_agrees(run: EmbeddingRun, column: TextColumn) -> None:
    """Raise ModelMismatch when the column's entry in columns.py names another model than its target."""
    if column.model in (None, run.model_name) or find_model(str(column.model)).name == run.model_name:
        return
    raise ModelMismatch(
        f"columns.py says model={column.model!r} for {column}, which is filled with {run.model_name}. Keep that by "
        f'writing model="{run.model_name}", or change it with `steam-assets embed {column} --model {column.model}`.'
    )


def model_to_fill(run: EmbeddingRun, column: TextColumn) -> Model:
    """The model of a column's target run, for vectors of the column's own preparation.

    Raises PreparationChanged and ModelMismatch when columns.py says something else by now.
    """
    check_entry_agrees(run, column)
    recorded, present = (run.recipe or {}).get("preparation"), str(find_preparation(column.preparation))
    if recorded != present:
        name = str(recorded).partition("@")[0]
        raise PreparationChanged(
            f"{column} is filled by run {run.run_id}, whose texts were prepared by {recorded}; columns.py says "
            f"{present}. `steam-assets embed {column} --model {run.model_name}` encodes every row again; with "
            f'TextColumn(preparation="{name}") the vectors that are there stay.'
        )
    return model_of(run, column)


def model_of(run: EmbeddingRun, column: TextColumn) -> Model:
    """The model a run's vectors were made with, found by its name, or where columns.py or ``STEAM_ASSETS_MODEL`` point.

    A directory of weights has no address in the database, only its name and sha256, so those two say where it is.
    """
    recipe = run.recipe or {}
    revision = recipe.get("revision")
    preparation = find_preparation(column.preparation)
    refusals: list[str] = []
    for name in dict.fromkeys(filter(None, (column.model, setting("STEAM_ASSETS_MODEL"), run.model_name))):
        try:
            hub_revision = revision if isinstance(revision, str) and not revision.startswith("sha256:") else None
            model = find_model(name, hub_revision)
        except SteamAssetsError as error:
            refusals.append(str(error))
            continue
        found = model.recipe(preparation) | {"preparation": recipe.get("preparation")}
        if model.name == run.model_name and found == recipe:
            return model
        differing = [key for key in sorted({*found, *recipe}) if found.get(key) != recipe.get(key)]
        refusals.append(f"{name} is another one: its {', '.join(differing) or 'name'} differs.")
    raise ModelUnavailable(
        f"{column} is filled by run {run.run_id} with the model {run.model_name}, which cannot be had here: "
        f"{' '.join(refusals)} Set STEAM_ASSETS_MODEL to its name or directory, or choose another model with "
        f"`steam-assets embed {column} --model NAME`."
    )


def preparation_of(run: EmbeddingRun) -> Preparation:
    """How the texts of a run were prepared, which may be another way than its column's is by now.

    Raises UnknownPreparation when it is no more.
    """
    return find_recorded((run.recipe or {}).get("preparation"))


@dataclass(frozen=True)
class Adoption:
    """What taking over a column's vectors came to: rows adopted, and the lowest cosine of the rows encoded again."""

    rows: int
    sampled: int
    lowest_cosine: float | None
    adopted: bool


def adopt(
    conn: connection, column: TextColumn, load: Callable[[Model], Encoder], sample: int = ADOPTION_SAMPLE
) -> Adoption:
    """Take over vectors that another tool wrote, if encoding a sample of their texts again gives the same vectors.

    Adopted rows get the target run and the digest of their present text; vectors that differ stay as they are, stale.
    """
    run = target_run(conn, column)
    rows = count_adoptable(conn, column)
    if not rows:
        return Adoption(0, 0, None, adopted=False)
    texts, stored = sample_vectors(conn, column, sample)
    conn.rollback()  # Encoding takes a while; no transaction waits for it.
    prepare = find_preparation(column.preparation).prepare
    encoded = load(model_to_fill(run, column)).encode([prepare(text) for text in texts])
    cosines = np.sum(encoded * stored, axis=1) / np.maximum(np.linalg.norm(stored, axis=1), 1e-12)
    lowest = float(cosines.min())
    if lowest < ADOPTION_COSINE:
        return Adoption(rows, len(texts), lowest, adopted=False)
    return Adoption(adopt_vectors(conn, column, run.run_id, rows, lowest, len(texts)), len(texts), lowest, adopted=True)
