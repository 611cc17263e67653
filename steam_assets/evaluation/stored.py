"""Evaluations into the database and back. What they are is score.py's, the SQL is store/evaluations.py's."""

from collections.abc import Mapping

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.evaluation.metrics import Interval
from steam_assets.evaluation.score import Evaluation
from steam_assets.store.evaluations import StoredEvaluation, newest_evaluations, record_evaluation

SCORE_DECIMALS = 6


def record(conn: connection, column: TextColumn, evaluation: Evaluation, dagster_run_id: str | None = None) -> int:
    """Store an evaluation with the scores of each query; its id. Does not commit."""
    scores = evaluation.scores
    values = {name: [round(value, SCORE_DECIMALS) for value in found.tolist()] for name, found in scores.values.items()}
    return record_evaluation(
        conn,
        column,
        evaluation.run_id,
        evaluation.query_set,
        evaluation.query_set_digest,
        evaluation.how,
        len(scores.query_ids),
        evaluation.stored(),
        {"query_ids": list(scores.query_ids), **values},
        dagster_run_id,
    )


def interval_of(stored: Mapping[str, object], name: str) -> Interval:
    """A metric's mean and interval out of what record() stored."""
    metrics = stored["metrics"]
    assert isinstance(metrics, Mapping)
    return Interval(**metrics[name])


def comparable_history(conn: connection, column: TextColumn, evaluation: Evaluation) -> list[StoredEvaluation]:
    """Evaluations of the same set, searched in the same way, newest first; a column's rows may be others by now."""
    return newest_evaluations(conn, column, evaluation.query_set, evaluation.query_set_digest, evaluation.how)
