"""Whether a column's index is what it should be: of the right run, measured, and good enough. No Dagster."""

from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.indexes.build import options_of
from steam_assets.indexes.recall import recall_asked
from steam_assets.store.hnsw import index_records, is_up_to_date
from steam_assets.store.hnsw_size import MOST_EF_CONSTRUCTION, MOST_M
from steam_assets.targets import target_run


@dataclass(frozen=True)
class Judgement:
    """Whether the index of a column passes, what is wrong otherwise, and its recall beside the one asked for."""

    passed: bool
    said: str | None
    recall: float | None
    asked: float | None


def judge_index(conn: connection, column: TextColumn) -> Judgement:
    """What is true now of the column's index that was chosen last, by its record and PostgreSQL's catalogue."""
    run = target_run(conn, column)
    records = index_records(conn, column)
    build = f"`steam-assets index build {column}` builds it"
    if not records:
        return Judgement(False, f"{column} has no index: {build}.", None, None)
    record = records[0]
    asked = recall_asked(options_of(record).recall)
    if not record.is_there:
        said = f"{record.name} is gone, or was left invalid: {build} again."
    elif record.run_id != run.run_id:
        said = f"{record.name} is of run {record.run_id}, and run {run.run_id} fills the column: {build} again."
    elif record.recall is None:
        said = f"{record.name} was not measured: {build} again."
    elif not is_up_to_date(conn, column, record):
        said = f"Rows were written since {record.name} was projected: {build} again."
    elif record.recall < asked:
        m, ef_construction = min(2 * record.m, MOST_M), min(2 * record.ef_construction, MOST_EF_CONSTRUCTION)
        said = (
            f"Its recall@10 is {record.recall:.4f} at ef_search {record.ef_search}, below {asked:g}. Build it with "
            f"more: `steam-assets index build {column} --m {m} --ef-construction {ef_construction}`, another "
            "--variant, or ask for less with --recall."
        )
    else:
        return Judgement(True, None, record.recall, asked)
    return Judgement(False, said, record.recall, asked)
