"""Loading files, and reporting it to Dagster as a materialization of the table that happened outside a run."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import table_key
from steam_assets.defs.partitions import register_ranges
from steam_assets.store.files import InputFile
from steam_assets.store.load import LoadProgress, LoadReport, load_files
from steam_assets.store.locks import loading


def load_and_report(
    instance: dg.DagsterInstance,
    conn: connection,
    files: Sequence[InputFile],
    columns: Sequence[TextColumn],
    progress: Callable[[LoadProgress], None],
) -> list[LoadReport]:
    """Load the files in order; each is reported as soon as it is in, and new ids get their ranges when all are."""
    tables = {file.table for file in files}
    reports = []
    with ExitStack() as locks:
        for table in sorted(tables):
            locks.enter_context(loading(conn, table))
        for report in load_files(conn, files, progress):
            reports.append(report)
            for column in columns:
                if column.qualified_table == report.table:
                    instance.report_runless_asset_event(materialization(column, report))
    for column in columns:
        if column.qualified_table in tables:
            register_ranges(instance, conn, column)
    conn.rollback()
    return reports


def materialization(column: TextColumn, report: LoadReport) -> dg.AssetMaterialization:
    """What a load did to a table, for the UI."""
    counts = ("read", "inserted", "updated", "unchanged", "repeated", "rejected")
    return dg.AssetMaterialization(
        table_key(column),
        metadata={
            "file": report.file,
            **{name: dg.MetadataValue.int(getattr(report, name)) for name in counts},
            "dagster/row_count": report.read - report.repeated - report.rejected,
        },
        description=f"Loaded from {report.file}",
    )
