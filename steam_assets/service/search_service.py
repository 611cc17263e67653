"""What the routes ask, in threads: searches, the columns that serve, and whether all of it is there. No HTTP."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import psycopg2

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.row_counts import Counted, RowCounts
from steam_assets.search import NothingServed, Searcher, SearchResult
from steam_assets.service.answers import Health, SearchAnswer, SearchRequest, ServedColumn
from steam_assets.service.pool import ConnectionPool
from steam_assets.service.problems import UnknownColumn, WrongQuestion
from steam_assets.service.shared_encoder import shared_encoders
from steam_assets.store.database import DatabaseAddress, connect, is_connection_lost
from steam_assets.store.filters import FIELDS
from steam_assets.store.hnsw import serving_record
from steam_assets.store.runs import EmbeddingRun
from steam_assets.targets import model_of

TIMEOUT_S = 30.0
WARM_UP = "a game about trains"


class SearchService:
    """Searches of one database with models that stay loaded; any thread may ask."""

    def __init__(
        self,
        address: DatabaseAddress,
        load: Callable[[Model], Encoder],
        columns: Sequence[TextColumn] = COLUMNS,
    ) -> None:
        self._columns = tuple(columns)
        self._pool = ConnectionPool(address)
        self._load = shared_encoders(load, len(columns) + 1)
        self._searcher = Searcher(self._pool.connect, self._load, columns, timeout_s=TIMEOUT_S, only_serving=True)
        # A count takes seconds: it is not for a connection that searches wait for.
        self._counts = RowCounts(lambda: connect(address), columns)

    def warm_up(self) -> list[str]:
        """Load the models of the columns that serve, so that no search waits for that; their names.

        Raises NothingServed where there is none.
        """
        serving = self._searcher.serving()
        for column, run in serving.items():
            self._load(model_of(run, column)).encode([WARM_UP])
        self._counts.latest(0)
        return model_names(serving)

    def answer(self, question: SearchRequest) -> SearchAnswer:
        """Search as asked; once more where the connection was lost, as all are when the server restarts."""
        try:
            return SearchAnswer(self._search(question))
        except psycopg2.Error as error:
            if not is_connection_lost(error):
                raise
        return SearchAnswer(self._search(question))

    def _search(self, question: SearchRequest) -> list[SearchResult]:
        if (question.q is None) == (question.like is None):
            raise WrongQuestion("Give either q, words to search for, or like, the id of a row.")
        column = None if question.column is None else self._find(question.column)
        if question.q is not None:
            return self._searcher.search(
                question.q,
                column=column,
                k=question.k,
                where=question.where,
                hybrid=question.hybrid,
                exact=question.exact,
            )
        assert question.like is not None
        if question.hybrid:
            raise WrongQuestion("hybrid needs q: a row's vector has no words. Leave out one of hybrid and like.")
        place = column or next(iter(self._searcher.serving()))
        return [
            self._searcher.like(question.like, column=place, k=question.k, where=question.where, exact=question.exact)
        ]

    def columns(self) -> list[ServedColumn]:
        """The columns that serve, with the rows of the last count."""
        counts = self._counts.latest(0)
        return [self._served(column, run, counts.get(column)) for column, run in self._searcher.serving().items()]

    def health(self) -> Health:
        """Whether the database answers, and has a column to search; with the models that searches use now."""
        try:
            return Health("ok", True, model_names(self._searcher.serving()))
        except NothingServed:
            return Health("unavailable", True, [])
        except (psycopg2.Error, SteamAssetsError):
            return Health("unavailable", False, [])

    def close(self) -> None:
        """End what is still being asked, and close the connections."""
        self._pool.close()

    def _find(self, name: str) -> TextColumn:
        """The column of this name; of a table with several the one that serves. Raises UnknownColumn."""
        named = [c for c in self._columns if name.replace("/", ".") in (str(c), c.vector, c.qualified_table)]
        if len(named) == 1:
            return named[0]  # whether it serves, the search sees
        serving = self._searcher.serving()
        found = [column for column in named if column in serving]
        if len(found) == 1:
            return found[0]
        raise UnknownColumn(
            f"No column that searches read is called {name!r}; expected {' or '.join(map(str, serving))}."
        )

    def _served(self, column: TextColumn, run: EmbeddingRun, counted: Counted | None) -> ServedColumn:
        with closing(self._pool.connect()) as conn:
            index = serving_record(conn, column, run.run_id)
        rows = None if counted is None else counted.rows
        embeddable = 0 if rows is None else sum(rows.values()) - rows["blank"]
        return ServedColumn(
            column=str(column),
            model_name=run.model_name,
            dimension=run.dimension,
            run_id=run.run_id,
            index=None if index is None else index.variant,
            recall=None if index is None else index.recall,
            fields=list(FIELDS.get((column.schema, column.table), ())),
            rows=None if rows is None else sum(rows.values()),
            embedded=None if rows is None else rows["embedded"],
            coverage_percent=None if rows is None else 100 * (rows["embedded"] / embeddable if embeddable else 1.0),
            counted_s_ago=None if counted is None else round(counted.age_s, 1),
        )


def model_names(serving: Mapping[TextColumn, EmbeddingRun]) -> list[str]:
    """The models of columns that serve, each once."""
    return sorted({run.model_name for run in serving.values()})
