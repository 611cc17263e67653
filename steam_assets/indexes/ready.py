"""Whether a column may get its index: the blocking rules hold for all of it. No Dagster; the rules are rules.py's."""

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.rules import Finding, broken_blocking_rules, description
from steam_assets.store.failure_reasons import failure_reasons
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.states import range_state


class ColumnNotReady(SteamAssetsError):
    """Rows of the column are pending, or break another rule that what is downstream has to wait for."""

    exit_code = EXIT_INCOMPLETE


def finding_of(conn: connection, column: TextColumn, run: EmbeddingRun, id_range: IdRange = EVERYTHING) -> Finding:
    """What is true of a range now, or of the whole column: one scan of it. Does not commit."""
    state = range_state(conn, column, run.run_id, run.dimension, id_range)
    return Finding(state, failure_reasons(conn, column, run.run_id, state.offences["failed"].first_ids))


def why_not_ready(column: TextColumn, finding: Finding) -> str | None:
    """What an index of the column has to wait for; None where it may be built, though a few rows have failed."""
    broken = broken_blocking_rules(finding)
    if not broken:
        return None
    said = " ".join(description(rule, column, [finding]) or "" for rule in broken)
    are = "is" if len(broken) == 1 else "are"
    return f"{column} gets no index yet: {', '.join(rule.name for rule in broken)} {are} red. {said}"


def check_ready(conn: connection, column: TextColumn, run: EmbeddingRun) -> None:
    """Raise ColumnNotReady unless every blocking rule holds for the column's run."""
    if (why := why_not_ready(column, finding_of(conn, column, run))) is not None:
        raise ColumnNotReady(why)
