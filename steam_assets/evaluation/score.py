"""Score the searches of a column on a query set. What a search finds is rankings.py's, storing scores stored.py's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.evaluation.beir import read_query_set
from steam_assets.evaluation.breakdowns import Breakdown, breakdowns
from steam_assets.evaluation.known_items import DEFAULT_SAMPLING, Sampling, known_items, known_items_in_column
from steam_assets.evaluation.metrics import Interval, QueryScores, score_queries
from steam_assets.evaluation.query_set import BadQuerySet, QuerySet, relevant, unknown_ids
from steam_assets.evaluation.rankings import How, Tell, rank_documents, rank_rows, without_index
from steam_assets.search import Searcher
from steam_assets.store.evaluations import check_recordable, rows_of_ids
from steam_assets.store.hnsw import serving_index
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.search import why_exact
from steam_assets.targets import model_of, preparation_of, run_to_search

Connect = Callable[[], connection]
Load = Callable[[Model], Encoder]


def say_nothing(what: str, done: int, total: int) -> None:
    """Progress for nobody."""


@dataclass(frozen=True)
class Evaluation:
    """How well searches of a column's run answer a query set: means with intervals, by group too, and of each query.

    ``documents`` is how many there were in memory; None where they are the rows of the column.
    """

    column: str
    run_id: int
    model_name: str
    query_set: str
    query_set_digest: str
    how: How
    documents: int | None
    scores: QueryScores
    metrics: Mapping[str, Interval]
    breakdowns: Mapping[str, Breakdown]
    notices: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """All but the scores of each query, ready for json.dumps."""
        return {
            "column": self.column,
            "run_id": self.run_id,
            "model_name": self.model_name,
            "query_set": self.query_set,
            "query_set_digest": self.query_set_digest,
            "how": self.how,
            "queries": len(self.scores.query_ids),
            **self.stored(),
        }

    def stored(self) -> dict[str, object]:
        """What embedding_evaluations.metrics holds."""
        return {
            "metrics": {name: asdict(found) for name, found in self.metrics.items()},
            "breakdowns": {
                kind: {
                    group: {name: asdict(found) for name, found in metrics.items()} for group, metrics in groups.items()
                }
                for kind, groups in self.breakdowns.items()
            },
            "documents": self.documents,
            "notices": list(self.notices),
            "seconds": self.seconds,
        }


def evaluate(
    connect: Connect,
    column: TextColumn,
    query_set: QuerySet,
    load: Load,
    how: How = "exact",
    tell: Tell = say_nothing,
    ignore_unknown: bool = False,
) -> Evaluation:
    """Score the run that searches of the column read, with its own model and preparation.

    Documents of the set's own are encoded for it and compared in memory; else the rows of the column are searched.
    Raises BadQuerySet for a set that does not fit the column or the way to search.
    """
    check_way(query_set, how)
    started = perf_counter()
    with closing(connect()) as conn:
        searched = run_to_search(conn, column)
        run = searched.run
        if query_set.corpus is None:
            query_set = with_known_rows(conn, column, run, query_set, ignore_unknown)
    notices = query_set.notices if searched.notice is None else (*query_set.notices, f"{searched.notice}.")
    encoder = load(model_of(run, column))
    prepare = preparation_of(run).prepare
    texts = list(query_set.queries.values())
    if query_set.corpus is None:
        searcher = Searcher(connect, load)
        rankings = rank_rows(searcher, column, run.run_id, texts, prepare, encoder, how, tell)
    else:
        rankings = rank_documents(query_set.corpus, texts, prepare, encoder, tell)
    scores = score_queries(
        list(query_set.queries), rankings.found, [query_set.qrels[query_id] for query_id in query_set.queries]
    )
    return Evaluation(
        column=str(column),
        run_id=run.run_id,
        model_name=run.model_name,
        query_set=query_set.name,
        query_set_digest=query_set.digest,
        how=how,
        documents=None if query_set.corpus is None else len(query_set.corpus),
        scores=scores,
        metrics=scores.means(),
        breakdowns=breakdowns(query_set, scores),
        notices=(*notices, *rankings.notices),
        seconds=perf_counter() - started,
    )


def check_way(query_set: QuerySet, how: How) -> None:
    """Raise BadQuerySet where documents of the set's own are to be found in another way than exactly."""
    if query_set.corpus is not None and how != "exact":
        raise BadQuerySet(
            f"{query_set.name} brings documents of its own, which are in no index and no full text: it can be "
            "evaluated with --how exact only. Without its corpus.jsonl the documents are the rows of the column."
        )


def with_known_rows(
    conn: connection, column: TextColumn, run: EmbeddingRun, query_set: QuerySet, ignore_unknown: bool
) -> QuerySet:
    """The set without judgements of rows that are not there; raises BadQuerySet unless those are to be ignored.

    A row that is there and has no vector of the run stays: that searches miss it is part of how good they are.
    """
    judged = dict.fromkeys(document for grades in query_set.qrels.values() for document in grades)
    rows = rows_of_ids(conn, column, run.run_id, judged)
    notices = []
    if unknown := [id_ for id_ in judged if id_ not in rows]:
        notices.append(unknown_ids(f"{query_set.name} in {column}", "documents", unknown, ignore_unknown))
    if missed := sum(not is_embedded for is_embedded in rows.values()):
        notices.append(f"{missed:,} judged rows have no vector of run {run.run_id}, so that searches miss them.")
    known = relevant(
        {
            query_id: {id_: grade for id_, grade in grades.items() if id_ in rows}
            for query_id, grades in query_set.qrels.items()
        }
    )
    if lost := len(query_set.qrels) - len(known):
        notices.append(f"{lost:,} queries have no relevant row, and were left out.")
    return query_set.having(known, notices)


def beside_exact(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, Evaluation]]:
    """Each other way to search the column's rows, with exact search of the same queries before it."""
    exact = {one.query_set_digest: one for one in evaluations if one.how == "exact" and one.documents is None}
    return [
        (exact[one.query_set_digest], one)
        for one in evaluations
        if one.how != "exact" and one.query_set_digest in exact
    ]


def evaluate_all(
    connect: Connect,
    column: TextColumn,
    load: Load,
    how: Sequence[How],
    path: Path | None = None,
    sampling: Sampling = DEFAULT_SAMPLING,
    ignore_unknown: bool = False,
    tell: Tell = say_nothing,
) -> Iterator[Evaluation]:
    """The evaluations that are asked for, each as soon as it is done; raises as ``plan_evaluations`` does."""
    for query_set, way in plan_evaluations(connect, column, how, path, sampling, ignore_unknown):
        yield evaluate(connect, column, query_set, load, way, tell, ignore_unknown)


def plan_evaluations(
    connect: Connect,
    column: TextColumn,
    how: Sequence[How],
    path: Path | None,
    sampling: Sampling,
    ignore_unknown: bool,
) -> list[tuple[QuerySet, How]]:
    """What is evaluated in which way; no model is needed yet.

    Raises SteamAssetsError where it could not be evaluated so, or not be stored.
    """
    with closing(connect()) as conn:
        run_id = run_to_search(conn, column).run.run_id
        check_recordable(conn)
        if "index" in how and serving_index(conn, column, run_id) is None:
            raise without_index(str(column), why_exact(conn, column, run_id))
    plan = query_sets(connect, column, how, path, sampling, ignore_unknown)
    for query_set, way in plan:
        check_way(query_set, way)
    return plan


def query_sets(
    connect: Connect,
    column: TextColumn,
    how: Sequence[How],
    path: Path | None,
    sampling: Sampling,
    ignore_unknown: bool,
) -> list[tuple[QuerySet, How]]:
    """The set at ``path``, else known items, each with the ways to search that it judges.

    Known items are long descriptions in memory, compared exactly, which judges the model. For any other way to search
    they are the rows of the column. Rows are searched exactly as well, and first, which judges the other ways.
    """
    others: list[How] = [way for way in how if way != "exact"]
    of_rows: list[How] = ["exact", *others]
    if path is not None:
        query_set = read_query_set(path, ignore_unknown)
        if sampling.queries is not None:
            query_set = query_set.sample(sampling.queries, sampling.seed)
        return [(query_set, way) for way in (of_rows if query_set.corpus is None else how)]
    plan: list[tuple[QuerySet, How]] = []
    if "exact" in how:
        plan.append((known_items(connect, column, sampling), "exact"))
    if others:
        in_column = known_items_in_column(connect, column, sampling)
        plan.extend((in_column, way) for way in of_rows)
    return plan
