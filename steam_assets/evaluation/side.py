"""A vector column as people meet it: what makes its vectors, what they take, what is found in it, and how fast."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.evaluation.rankings import Tell, check_run
from steam_assets.search import Searcher
from steam_assets.store.column_costs import ColumnCosts, column_costs
from steam_assets.targets import model_of, preparation_of, run_to_search

HITS = 10


@dataclass(frozen=True)
class Milliseconds:
    """How long half of the queries took at most, and all but the slowest twentieth."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Side:
    """A column with the run that searches of it read; ``hits`` are the ids that each query found, best first.

    ``encoding`` is a query's way through the model, ``searching`` the rest of `steam-assets search`, and ``how`` how
    rows were found: "exact", or through an index.
    """

    column: str
    model_name: str
    preparation: str
    dimension: int
    run_id: int
    serves: bool
    costs: ColumnCosts
    encoding: Milliseconds
    searching: Milliseconds
    how: str
    hits: tuple[tuple[str, ...], ...]


def search_all(
    connect: Callable[[], connection],
    column: TextColumn,
    texts: Sequence[str],
    load: Callable[[Model], Encoder],
    tell: Tell,
) -> Side:
    """Search a column with each text as `steam-assets search` does, one after the other, and take the time.

    Only that reviews are not grouped by their game: ten hits are ten rows. The first text is asked twice: it opens
    caches and counts rows, which a service does once. Raises RunMoved when searches read another run meanwhile.
    """
    with closing(connect()) as conn:
        searched = run_to_search(conn, column)
        run = searched.run
        costs = column_costs(conn, column, run.run_id)
    encoder, searcher = load(model_of(run, column)), Searcher(connect, load)
    preparation = preparation_of(run)
    hits: list[tuple[str, ...]] = []
    encoding: list[float] = []
    searching: list[float] = []
    how = "exact"
    for number, text in enumerate([*texts[:1], *texts]):
        prepared = preparation.prepare(text)
        if not prepared.strip():
            hits.append(())
            continue
        began = perf_counter()
        vector = encoder.encode([prepared])[0].tolist()
        encoding.append(perf_counter() - began)
        result = searcher.search_vector(vector, column=column, k=HITS)
        check_run(str(column), run.run_id, result.run_id)
        searching.append(result.seconds)
        hits.append(tuple(hit.id for hit in result.hits))
        how = result.how
        tell(f"searches of {column}", number, len(texts))
    return Side(
        column=str(column),
        model_name=run.model_name,
        preparation=str(preparation),
        dimension=run.dimension,
        run_id=run.run_id,
        serves=searched.notice is None,
        costs=costs,
        encoding=_milliseconds(encoding[1:]),
        searching=_milliseconds(searching[1:]),
        how=how,
        hits=tuple(hits[1:]),
    )


def _milliseconds(seconds: Sequence[float]) -> Milliseconds:
    p50, p95 = (1000 * float(value) for value in np.percentile(seconds or [0.0], [50, 95]))
    return Milliseconds(p50, p95)
