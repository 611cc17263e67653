"""Searches of the columns that serve: the model of the run they read encodes the query, store/ finds the rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.encoder.loading import EncoderSettings, load_encoder
from steam_assets.encoder.models import Model
from steam_assets.search.queries import QueryEncoder, QueryEncoders
from steam_assets.search.question import PER_GROUP, Question, check_encodable, check_text, check_vector
from steam_assets.search.ranking import RankedRow, Ranking, rank
from steam_assets.search.results import Group, Hit, NoSuchRow, NothingServed, SearchError, SearchResult, SearchTimeout
from steam_assets.search.snippets import one_line, snippet, words_of
from steam_assets.settings import read_dotenv
from steam_assets.store.database import connect, find_database
from steam_assets.store.filter_language import WrongFilter
from steam_assets.store.fulltext import why_slow
from steam_assets.store.runs import EmbeddingRun, column_runs
from steam_assets.store.search import count_left_out, snapshot, stored_vector, why_exact
from steam_assets.store.search_rows import FoundRow, read_rows
from steam_assets.store.status import is_initialised
from steam_assets.targets import RunToSearch, run_to_search

LEFT_OUT_KNOWN_S = 60.0
"""How long the number of rows that a search leaves out is believed: counting reads the whole table."""
LEFT_OUT_WITHIN_S = 0.5
"""What one search in that time may spend on counting; of a table that takes longer the number is not known."""


class Searcher:
    """Searches, each on a connection of its own from ``connect``, which it closes; a pool's gives itself back then.

    Any number of threads may use it, where the encoders that ``load`` gives bear that. ``timeout_s`` is what each
    statement of a search may take; one that takes longer ends it with SearchTimeout. ``only_serving`` is for strangers:
    a column that serves nothing is not searched though it is named.
    """

    def __init__(
        self,
        connect: Callable[[], connection],
        load: Callable[[Model], QueryEncoder],
        columns: Sequence[TextColumn] = COLUMNS,
        timeout_s: float | None = None,
        only_serving: bool = False,
    ) -> None:
        self._connect = connect
        self._columns = tuple(columns)
        # Of each column its model, and after a `promote` that of a moment ago.
        self._encoders = QueryEncoders(load, len(self._columns) + 1)
        self._timeout_s = timeout_s
        self._only_serving = only_serving
        self._runs: dict[TextColumn, EmbeddingRun] = {}  # which searches read a moment ago
        self._left_out: dict[tuple[TextColumn, int], tuple[float, int | None]] = {}

    def search(
        self,
        text: str,
        *,
        column: TextColumn | None = None,
        k: int = 10,
        where: str | None = None,
        hybrid: bool = False,
        exact: bool = False,
        per_group: int | None = PER_GROUP,
    ) -> list[SearchResult]:
        """The ``k`` rows nearest in meaning to ``text`` in a column, or in each that serves.

        Of reviews those of the ``k`` nearest games, ``per_group`` of each; with None ``k`` reviews of whatever games.
        ``where`` is a filter (filter_language.py), ``hybrid`` adds rows that hold the words, and ``exact`` compares
        every row though there is an index. Raises SearchError for a question that cannot be answered.
        """
        question = Question(k, where, hybrid, exact, per_group)
        check_text(text)
        columns = list(self.serving()) if column is None else [column]
        return [self._by_text(column, text, question) for column in columns]

    def like(
        self,
        row_id: str | int,
        *,
        column: TextColumn,
        k: int = 10,
        where: str | None = None,
        exact: bool = False,
        per_group: int | None = PER_GROUP,
    ) -> SearchResult:
        """The rows nearest to a stored one, by its vector; itself left out. Raises NoSuchRow when it has none."""
        question = Question(k, where, exact=exact, per_group=per_group)
        check_encodable(str(row_id), "id")
        with self._reading(column) as (conn, found, started):
            stored = stored_vector(conn, column, found.run.run_id, str(row_id))
            if stored is None:
                raise NoSuchRow(
                    f"{column} has no row {str(row_id)[:80]!r} with a vector of run {found.run.run_id}, which searches "
                    "read. `steam-assets status` tells what is not embedded yet."
                )
            itself, vector = stored
            ranking = rank(conn, column, found.run.run_id, vector, question, without=itself)
            return self._result(conn, column, found, question, ranking, started)

    def search_vector(
        self,
        vector: Sequence[float],
        *,
        column: TextColumn,
        k: int = 10,
        where: str | None = None,
        exact: bool = False,
        per_group: int | None = None,
    ) -> SearchResult:
        """The rows nearest to a vector that the caller made with the model of the run that is served."""
        question = Question(k, where, exact=exact, per_group=per_group)
        with self._reading(column) as (conn, found, started):
            check_vector(vector, found.run.dimension)
            ranking = rank(conn, column, found.run.run_id, vector, question)
            return self._result(conn, column, found, question, ranking, started)

    def serving(self) -> dict[TextColumn, EmbeddingRun]:
        """The columns that serve, each with its run; raises NothingServed where there is none."""
        with closing(self._connect()) as conn, snapshot(conn):
            columns = self._columns if is_initialised(conn) else ()
            runs = {column: column_runs(conn, column).serving for column in columns}
        found = {column: run for column, run in runs.items() if run is not None}
        if not found:
            raise NothingServed(
                f"{', '.join(map(str, self._columns))}: serves no run yet. Run `steam-assets init`, then "
                "`steam-assets embed`."
            )
        return found

    def _by_text(self, column: TextColumn, text: str, question: Question) -> SearchResult:
        began = time.perf_counter()
        run = self._runs.get(column)
        vector, cut = ([], None) if run is None else self._encoders.encode(column, run, text)
        while True:
            with self._reading(column) as (conn, found, _):
                if run is not None and found.run.run_id == run.run_id:
                    ranking = rank(conn, column, run.run_id, vector, question, text if question.hybrid else None)
                    slow = why_slow(conn, column) if question.hybrid else None
                    return self._result(conn, column, found, question, ranking, began, (cut, slow), words_of(text))
            # No transaction waits for the model: loading it takes seconds. Where another run serves by then, once more.
            run = self._runs[column] = found.run
            vector, cut = self._encoders.encode(column, run, text)

    def _result(
        self,
        conn: connection,
        column: TextColumn,
        found: RunToSearch,
        question: Question,
        ranking: Ranking,
        began: float,
        notices: Sequence[str | None] = (),
        words: Sequence[str] = (),
    ) -> SearchResult:
        run = found.run
        rows = read_rows(conn, column, [row.id for row in ranking.rows])
        why = None if question.exact or not ranking.how.startswith("exact") else why_exact(conn, column, run.run_id)
        nothing = "no embedded row fits the filter" if question.where else "nothing else is embedded yet"
        left_out = self._count_left_out(conn, column, run.run_id)
        refilled = left_out is None and column_runs(conn, column).target != run
        filling = "the column is being filled with another run: rows that have its vectors are left out"
        known = [found.notice, *notices, None if rows else nothing, why, filling if refilled else None]
        return SearchResult(
            column=str(column),
            model_name=run.model_name,
            run_id=run.run_id,
            hits=[_hit(row, rows[row.id], words) for row in ranking.rows],
            left_out=left_out,
            how=ranking.how,
            seconds=time.perf_counter() - began,
            notice="; ".join(filter(None, known)) or None,
        )

    def _count_left_out(self, conn: connection, column: TextColumn, run_id: int) -> int | None:
        counted_at, rows = self._left_out.get((column, run_id), (float("-inf"), None))
        if time.monotonic() - counted_at > LEFT_OUT_KNOWN_S:
            # First, so that searches of other threads take what was known before, and do not count too.
            self._left_out[column, run_id] = time.monotonic(), rows
            rows = count_left_out(conn, column, run_id, LEFT_OUT_WITHIN_S)
            self._left_out[column, run_id] = time.monotonic(), rows
        return rows

    @contextmanager
    def _reading(self, column: TextColumn) -> Iterator[tuple[connection, RunToSearch, float]]:
        """A connection that sees one moment of the database, the run to search there, and when this began.

        What goes wrong because of the question is a SearchError.
        """
        began = time.perf_counter()
        try:
            with closing(self._connect()) as conn, snapshot(conn, self._timeout_s):
                yield conn, self._run_to_search(conn, column), began
        except WrongFilter as error:
            raise SearchError(str(error)) from None
        except errors.QueryCanceled as error:
            raise SearchTimeout(
                f"The search of {column} was stopped: {error.diag.message_primary}. Build an index with "
                f"`steam-assets index build {column}`, or let a filter leave fewer rows."
            ) from None

    def _run_to_search(self, conn: connection, column: TextColumn) -> RunToSearch:
        if not self._only_serving:
            return run_to_search(conn, column)
        run = column_runs(conn, column).serving if is_initialised(conn) else None
        if run is None:
            raise NothingServed(f"{column} serves no searches; `steam-assets status` says why.")
        return RunToSearch(run)


def _hit(row: RankedRow, found: FoundRow, words: Sequence[str]) -> Hit:
    title = one_line(found.title or "") or None
    group = None if row.group is None else Group(row.group, one_line(found.group_name or "") or None)
    return Hit(row.id, row.score, row.cosine, snippet(found.text, words, title), title, group)


def open_searcher(columns: Sequence[TextColumn] = COLUMNS) -> Searcher:
    """A searcher for a notebook: database, model and device are what the environment and `.env` say."""
    read_dotenv()
    load = partial(load_encoder, settings=EncoderSettings.from_environment())
    return Searcher(lambda: connect(find_database()), load, columns)
