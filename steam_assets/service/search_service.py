"""What the routes ask, in threads: searches, the columns that serve, and whether all of it is there. No HTTP."""

from collections.abc import Callable, Sequence
from contextlib import closing

import psycopg2

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.row_counts import Counted, RowCounts
from steam_assets.search import Searcher, SearchResult
from steam_assets.service.answers import Health, Question, SearchAnswer, ServedColumn
from steam_assets.service.pool import CONNECTIONS, ConnectionPool
from steam_assets.service.problems import UnknownColumn, WrongQuestion
from steam_assets.service.shared_encoder import shared_encoders
from steam_assets.store.database import DatabaseAddress, connect, is_connection_lost
from steam_assets.store.filters import FIELDS
from steam_assets.store.hnsw import index_records
from steam_assets.store.runs import EmbeddingRun
from steam_assets.targets import model_of

TIMEOUT_S = 30.0
COUNTS_WAIT_S = 1.0
WARM_UP = "a game about trains"


class SearchService:
    """Searches of one database with models that stay loaded; any thread may ask."""

    def __init__(
        self,
        address: DatabaseAddress,
        load: Callable[[Model], Encoder],
        columns: Sequence[TextColumn] = COLUMNS,
        connections: int = CONNECTIONS,
    ) -> None:
        self.connections = connections
        self._address = address
        self._pool = ConnectionPool(address, connections)
        self._load = shared_encoders(load)
        self._searcher = Searcher(self._pool.connect, self._load, columns, timeout_s=TIMEOUT_S)
        # A count takes seconds: it is not for a connection that searches wait for.
        self._counts = RowCounts(lambda: connect(address), columns)
        self._models: list[str] = []

    def warm_up(self) -> list[str]:
        """Load the models of the columns that serve, so that no search waits for that; their names.

        Raises NothingServed where there is none.
        """
        serving = self._searcher.serving()
        for column, run in serving.items():
            self._load(model_of(run, column)).encode([WARM_UP])
        self._models = sorted({run.model_name for run in serving.values()})
        self._counts.latest(0)
        return self._models

    def answer(self, question: Question) -> SearchAnswer:
        """Search as asked; once more where the connection was lost, as all are when the server restarts."""
        try:
            return SearchAnswer(self._search(question))
        except psycopg2.Error as error:
            if not is_connection_lost(error):
                raise
        return SearchAnswer(self._search(question))

    def _search(self, question: Question) -> list[SearchResult]:
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
        counts = self._counts.latest(COUNTS_WAIT_S)
        return [self._served(column, run, counts.get(column)) for column, run in self._searcher.serving().items()]

    def health(self) -> Health:
        """Whether the database answers, and a model is loaded."""
        try:
            # Not one of the pool's, which may all be at work.
            connect(self._address).close()
            database = True
        except (psycopg2.Error, SteamAssetsError):
            database = False
        return Health("ok" if database and self._models else "unavailable", database, self._models)

    def close(self) -> None:
        """End what is still being asked, and close the connections."""
        self._pool.close()

    def _find(self, name: str) -> TextColumn:
        serving = self._searcher.serving()
        found = [c for c in serving if name.replace("/", ".") in (str(c), c.vector, c.qualified_table)]
        if len(found) == 1:
            return found[0]
        raise UnknownColumn(
            f"No column that searches read is called {name!r}; expected {' or '.join(map(str, serving))}."
        )

    def _served(self, column: TextColumn, run: EmbeddingRun, counted: Counted | None) -> ServedColumn:
        with closing(self._pool.connect()) as conn:
            index = next((record for record in index_records(conn, column) if record.serves(run.run_id)), None)
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
