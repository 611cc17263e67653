"""Evaluations that nobody made: three queries, and what they are said to have found."""

from datetime import UTC, datetime

from steam_assets.evaluation.breakdowns import breakdowns
from steam_assets.evaluation.metrics import score_queries
from steam_assets.evaluation.query_set import QuerySet
from steam_assets.evaluation.score import Evaluation
from steam_assets.store.evaluations import StoredEvaluation

SET = QuerySet("farms", {"a": "a farm", "b": "ферма", "c": "x" * 60}, {query_id: {"d": 1} for query_id in "abc"})


def evaluation(*found: list[str], how: str = "exact", documents: int | None = 3) -> Evaluation:
    """An evaluation of three queries that found these."""
    scores = score_queries(list(SET.queries), found, [*SET.qrels.values()])
    return Evaluation(
        column="applications.description_embedding",
        run_id=4,
        model_name="some/model",
        query_set=SET.name,
        query_set_digest=SET.digest,
        how=how,  # type: ignore[arg-type]
        documents=documents,
        scores=scores,
        metrics=scores.means(),
        breakdowns=breakdowns(SET, scores),
        notices=("One was left out.",),
        seconds=90.0,
    )


FIRST = evaluation(["d"], ["e", "d"], [])


def stored(one: Evaluation, number: int) -> StoredEvaluation:
    """The evaluation as the database would give it back."""
    evaluated_at = datetime(2026, 11, 23, 1, number, tzinfo=UTC)
    identity = (one.column, one.run_id, one.model_name, one.query_set, one.query_set_digest, one.how, 3)
    return StoredEvaluation(number, *identity, one.stored(), None, evaluated_at)
