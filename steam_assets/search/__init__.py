"""Search a vector column by meaning, with the model its vectors were made with. The SQL is store/search.py's."""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_recorded
from steam_assets.errors import SteamAssetsError
from steam_assets.store.runs import column_runs
from steam_assets.store.search import Hit, count_left_out, nearest
from steam_assets.store.status import is_initialised
from steam_assets.store.vector_indexes import exact_scan_notice
from steam_assets.targets import model_of


@dataclass(frozen=True)
class SearchResult:
    """Hits, nearest first, of one run; ``left_out`` rows have vectors of other runs, which are never compared.

    ``notice`` is what a person should know about how they were found.
    """

    column: str
    model_name: str
    run_id: int
    hits: list[Hit]
    left_out: int
    notice: str | None = None


def search(conn: connection, column: TextColumn, text: str, k: int, load: Callable[[Model], Encoder]) -> SearchResult:
    """The ``k`` rows of ``column`` nearest in meaning to ``text``, among the vectors of its serving run."""
    serving = column_runs(conn, column).serving if is_initialised(conn) else None
    if serving is None:
        raise SteamAssetsError(
            f"{column} serves no run yet. Run `steam-assets init`, then `steam-assets embed {column}`."
        )
    # As the run's texts were, which may be another way than the column's is by now.
    prepared = find_recorded((serving.recipe or {}).get("preparation")).prepare(text)
    if not prepared.strip():
        raise SteamAssetsError("The search text is blank; expected some words.")
    query = load(model_of(serving, column)).encode([prepared])[0]
    hits = nearest(conn, column, serving.run_id, query.tolist(), k)
    return SearchResult(
        column=str(column),
        model_name=serving.model_name,
        run_id=serving.run_id,
        hits=hits,
        left_out=count_left_out(conn, column, serving.run_id),
        notice=exact_scan_notice(conn, column),
    )
