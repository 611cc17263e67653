"""Exports for tests: made in this process, or in one that is killed at a step, and compared byte by byte."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.exports.export import ExportReport, Progress, export_column
from steam_assets.exports.manifest import Format
from steam_assets.store.runs import get_run
from steam_assets_tests.rows import Connect, execute, target_of

STEPS = ("fsync", "rename", "replace", "unlink", "truncate")
"""What an export does to its files between two writes; each page that it has read is a step too."""


def export(
    connect: Connect,
    column: TextColumn,
    directory: Path,
    file_format: Format,
    run_id: int | None = None,
    progress: Progress = lambda done, total: None,
    resume: bool = False,
    force: bool = False,
) -> ExportReport:
    """Export a column's target run, or another one."""
    with closing(connect()) as conn:
        run = get_run(conn, target_of(conn, column) if run_id is None else run_id)
        conn.rollback()
        conn.autocommit = True
        return export_column(conn, column, run, directory, file_format, progress, resume=resume, force=force)


def killed_at_step(number: int, work: Callable[[Progress], object]) -> bool:
    """Do ``work`` in a process that is killed, as by kill -9, before its step of this number; whether it got so far."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            left = number

            def before(step: Callable[..., Any]) -> Callable[..., Any]:
                def count_down(*arguments: object, **named: object) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return step(*arguments, **named)

                return count_down

            for name in STEPS:
                setattr(os, name, before(getattr(os, name)))
            work(before(lambda done, total: None))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the export itself failed"
    return False


def contents_of(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def forget_vectors(conn: connection, column: TextColumn) -> None:
    """Take vector, run and digest from every row."""
    execute(
        conn,
        sql.SQL("UPDATE {} SET {} = NULL, {} = NULL, {} = NULL").format(
            sql.Identifier(column.schema, column.table),
            *map(sql.Identifier, (column.vector, column.run, column.digest)),
        ),
    )
