"""Torture: clients killed, servers restarted, disks filled, texts edited, and no row may ever say something false.

`python -m steam_assets_tests.benchmarks.torture --rounds 200 --json torture.json` ends with 1 when a round is wrong.
"""

import argparse
import logging
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from statistics import median

from psycopg2 import sql
from tqdm import tqdm

from steam_assets_tests.benchmarks.machine import describe_machine
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.torture_faults import FAULTS, Fault
from steam_assets_tests.benchmarks.torture_process import make_dagster_tables
from steam_assets_tests.benchmarks.torture_round import Result, run_round
from steam_assets_tests.benchmarks.torture_scene import Plan
from steam_assets_tests.benchmarks.torture_server import TorturedServer, tortured_server

DAGSTER_EVERY = 10
"""One round of so many goes through Dagster, which takes seconds for what the pipeline does in one."""
DAGSTER_TEMPLATE = "dagster_template"


@dataclass(frozen=True)
class Summary:
    """All rounds with one fault."""

    fault: str
    rounds: int
    wrong: int
    seconds_median: float
    seconds_max: float
    rows: int
    edits: int
    encoded_again: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rounds that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--encoder", choices=("deterministic", "minilm"), default="deterministic")
    parser.add_argument("--seed", type=int, help="of the first round; each later one has the next number")
    parser.add_argument("--fault", choices=[fault.name for fault in FAULTS], help="this one in every round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round and the summary there")
    options = parser.parse_args(arguments)
    logging.getLogger("steam_assets").addHandler(logging.NullHandler())  # what goes wrong is known here
    first = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    minilm = options.encoder == "minilm"
    faults = [
        fault
        for fault in FAULTS
        if options.fault == fault.name or (options.fault is None and not (minilm and fault.needs_hash))
    ]
    results: list[Result] = []
    with tqdm(total=options.rounds, unit=" rounds", dynamic_ncols=True, disable=None) as bar:
        for result in rounds(range(first, first + options.rounds), faults, minilm):
            results.append(result)
            bar.set_description_str(result.fault)
            bar.update()
            if not result.is_right:
                tqdm.write("\n  ".join([f"WRONG: {command_of(result)}", *result.findings]))
    summary = summarised(results)
    print(summary_table(summary))
    if options.json is not None:
        command = f"python -m {__spec__.name} {shlex.join(sys.argv[1:] if arguments is None else arguments)}"
        others = {"first_seed": first, "summary": [asdict(row) for row in summary]}
        write_rows(options.json, describe_machine("cpu"), command, results, others)
    return 0 if all(result.is_right for result in results) else 1


def rounds(seeds: Sequence[int], faults: Sequence[Fault], minilm: bool) -> Iterator[Result]:
    """Play a round for each seed, on one server for as long as it survives."""
    left = list(seeds)
    while left:
        with tortured_server() as server, tempfile.TemporaryDirectory(prefix="steam_assets_torture-") as homes:
            playable = [fault for fault in faults if server.disk is not None or not fault.small_disk]
            if len(playable) < len(faults):
                tqdm.write(f"No round with a full disk here: {server.no_disk}")
            while left and playable:
                seed = left.pop(0)
                fault = playable[seed % len(playable)]
                home = Path(homes) / str(seed)
                home.mkdir()
                result = attempt(server, seed, fault, minilm, home)
                yield result
                if not result.is_right:
                    break  # whatever is wrong, the next round begins on a server of its own
            if not playable:
                return


def attempt(server: TorturedServer, seed: int, fault: Fault, minilm: bool, home: Path) -> Result:
    """Play a round; what it raises is a finding."""
    through_dagster = seed % DAGSTER_EVERY == 0 and not minilm
    try:
        with dagster_database(server, seed, home) if through_dagster else nothing() as url:
            return run_round(server, Plan(seed, fault, minilm, home, url))
    except Exception:  # noqa: BLE001  (told as what this round has found)
        found = traceback.format_exc()
    encoder = "minilm" if minilm else "deterministic"
    return Result(seed, fault.name, encoder, through_dagster, findings=(found,))


@contextmanager
def dagster_database(server: TorturedServer, seed: int, home: Path) -> Iterator[str]:
    """A database for Dagster's runs and events; its tables are made once."""
    if not server.has_dagster_template:
        server.execute(f"CREATE DATABASE {DAGSTER_TEMPLATE}")
        make_dagster_tables(server.dsn(DAGSTER_TEMPLATE), home)
        server.has_dagster_template = True
    name = sql.Identifier(f"dagster_{seed}")
    server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(DAGSTER_TEMPLATE)))
    # Its events are not what is tortured, and a hundred of them are waited for.
    server.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
    try:
        yield server.dsn(f"dagster_{seed}")
    finally:
        server.start()
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def nothing() -> Iterator[None]:
    """No database."""
    yield None


def command_of(result: Result) -> str:
    """The command that repeats a round, as far as the clock allows."""
    options = ["--rounds", "1", "--encoder", result.encoder, "--seed", str(result.seed), "--fault", result.fault]
    return shlex.join(["python", "-m", "steam_assets_tests.benchmarks.torture", *options])


def summarised(results: Sequence[Result]) -> list[Summary]:
    """A line for each fault that there was."""
    lines = []
    for name in dict.fromkeys(result.fault for result in results):
        found = [result for result in results if result.fault == name]
        seconds = [result.seconds for result in found]
        lines.append(
            Summary(
                fault=name,
                rounds=len(found),
                wrong=sum(not result.is_right for result in found),
                seconds_median=median(seconds),
                seconds_max=max(seconds),
                rows=sum(result.rows for result in found),
                edits=sum(result.edits for result in found),
                encoded_again=sum(result.encoded_again for result in found),
            )
        )
    return lines


def summary_table(summary: Sequence[Summary]) -> str:
    """For people."""
    header = ("fault", "rounds", "wrong", "median", "slowest", "rows", "edits", "rows of the clean run")
    return markdown_table(
        header,
        [
            (
                line.fault,
                f"{line.rounds}",
                f"{line.wrong}",
                f"{line.seconds_median:.1f} s",
                f"{line.seconds_max:.1f} s",
                f"{line.rows:,}",
                f"{line.edits:,}",
                f"{line.encoded_again:,}",
            )
            for line in summary
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
