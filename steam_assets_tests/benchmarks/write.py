"""Writing vectors: ours beside the predecessor's way, common ways, and those of other tools; speed, processor, memory.

`python -m steam_assets_tests.benchmarks.write --json write.json --plot write.png`
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from steam_assets_tests.benchmarks.corpus import REAL_ROWS
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.plots import plot_writes, require_matplotlib
from steam_assets_tests.benchmarks.report import markdown_table, shown, write_rows
from steam_assets_tests.benchmarks.scratch import scratch_database, server_settings
from steam_assets_tests.benchmarks.tables import SHAPES, read_texts
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.benchmarks.write_race import OURS, PREDECESSOR, WITH_TRIGGER, WriteRace, WriteRow

MODULE = "steam_assets_tests.benchmarks.write"
ROWS = 3_000
"""Of a fast way's turn: two chunks of ours, and long enough for the 10 ms in which processor time is counted."""
ROUNDS = 5
DIMENSION = 1_024
LEAST_RATIO = 10.0
LEAST_CPU_RATIO = 8.0
LEAST_MEMORY_RATIO = 5.0

HEADER = (
    *("", "rows/s", "x", "client us/row", "backend us/row", "CPU x less", "memory KB/row", "memory x less"),
    *("WAL KB/row", "table"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds, print the tables and what came of the targets, write the JSON and the plot."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    if options.plot is not None:
        require_matplotlib()
    machine = describe_machine(None)
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    shapes = [SHAPES[name] for name in (SHAPES if options.shape == "all" else [options.shape])]
    rows: list[WriteRow] = []
    texts: dict[str, object] = {}
    server: dict[str, str] = {}
    for shape in shapes:
        corpus = read_texts(shape, options.data)
        race = WriteRace(shape, options.rows, options.rounds)
        with scratch_database() as connect:
            race.run(connect, corpus.stored, options.dimension)
            with closing(connect()) as conn:
                server = server_settings(conn)
        bytes_mean = sum(len(text.encode()) for text in corpus.stored) / len(corpus)
        texts[shape.name] = {"source": corpus.source, "texts": len(corpus), "bytes_mean": round(bytes_mean)}
        rows += race.found()
        print(
            f"\n{shape.name}: {corpus.source}, {bytes_mean:,.0f} bytes a text, {options.dimension} numbers a vector\n"
        )
        print(write_table([row for row in rows if row.shape == shape.name]))
    found = targets(rows)
    print(f"\n{targets_table(found)}")
    if options.json is not None:
        others = {
            "server": server,
            "dimension": options.dimension,
            "texts": texts,
            "targets": [asdict(target) for target in found],
        }
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}".strip(), rows, others)
    if options.plot is not None:
        plot_writes(options.plot, rows)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", default="all", choices=(*SHAPES, "all"))
    parser.add_argument("--dimension", type=int, default=DIMENSION)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of a fast way's turn; {ROWS}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    return parser.parse_args(arguments)


def write_table(rows: Sequence[WriteRow]) -> str:
    """The rows of one shape."""
    return "\n".join(
        [
            markdown_table(HEADER, [_cells(row) for row in rows if row.skipped is None]),
            *(f"{row.name}: skipped, {row.skipped}" for row in rows if row.skipped is not None),
        ]
    )


def _cells(row: WriteRow) -> list[str]:
    memory, wal = row.memory_bytes_per_row, row.wal_bytes_per_row
    return [
        row.name,
        shown(row.rows_per_s, ",.0f"),
        shown(row.ratio_to_predecessor, ".2f"),
        shown(row.client_us_per_row, ",.0f"),
        shown(row.backend_us_per_row, ",.0f"),
        shown(row.cpu_ratio, ".2f"),
        shown(None if memory is None else memory / 1e3, ".1f"),
        shown(row.memory_ratio, ".2f"),
        shown(None if wal is None else wal / 1e3, ".1f"),
        "its own" if row.own_table else "existing",
    ]


def targets(rows: Sequence[WriteRow]) -> list[Target]:
    """Issue 4's targets of writing for each shape that was measured."""
    found: list[Target] = []
    for shape in dict.fromkeys(row.shape for row in rows):
        named = {row.name: row for row in rows if row.shape == shape}
        ours = named[OURS]
        for what, value, least in (
            ("rows/s, the guard on", ours.ratio_to_predecessor, LEAST_RATIO),
            ("client and backend CPU per row, times less", ours.cpu_ratio, LEAST_CPU_RATIO),
            ("payload memory per row, times less", ours.memory_ratio, LEAST_MEMORY_RATIO),
        ):
            found.append(compared("anywhere", shape, f"{what} >= {least:g}x", value, least=least))
        before, after = named[PREDECESSOR + WITH_TRIGGER].rows_per_s, named[OURS + WITH_TRIGGER].rows_per_s
        ratio = after / before if before and after else None
        found.append(
            Target(
                "anywhere",
                shape,
                "rows/s, both under the updated_at trigger",
                shown(ratio, ".2f"),
                "not applicable here",
            )
        )
    return found


if __name__ == "__main__":
    main()
