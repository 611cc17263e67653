"""The encoder beside the predecessor's call: speed, padding, memory, and how near its vectors are to fp32.

`python -m steam_assets_tests.benchmarks.encoder --device cuda --model shape:bge-m3 --json results.json`
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from steam_assets.encoder.device import find_device, set_allocator_defaults
from steam_assets.encoder.models import DEMO_MODEL, Model
from steam_assets_tests.benchmarks.bge_shape import BGE_SHAPE, benchmark_model
from steam_assets_tests.benchmarks.corpus import NAMES, REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.end_to_end import EndToEnd
from steam_assets_tests.benchmarks.flops import shape_of
from steam_assets_tests.benchmarks.machine import Described, describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.out_of_memory import MemoryRow, memory_table, run_out_of_memory
from steam_assets_tests.benchmarks.race import Race
from steam_assets_tests.benchmarks.report import Row, rows_table, statistics_table, write_rows
from steam_assets_tests.benchmarks.rules import padding_ceiling
from steam_assets_tests.benchmarks.targets import END_TO_END, Findings, targets, targets_table
from steam_assets_tests.benchmarks.variants import Ours, Variant, encoders, predecessors
from steam_assets_tests.benchmarks.workload import Workload, tokenized, tokenizer_of

MODULE = "steam_assets_tests.benchmarks.encoder"
CPU_ROWS = 1_000
"""Of each corpus, where --rows does not say: a round with MiniLM takes some minutes on two cores."""
ROUNDS = 3
CUDA_BUDGET_S = 480.0
OUT_OF_MEMORY_S = 60.0
"""Of the budget, kept for the last two passes on CUDA."""
OUT_OF_MEMORY = "oom"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds, print the tables, and write the JSON after each round."""
    started = time.monotonic()
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    set_allocator_defaults()
    device = find_device(options.device)
    cuda = device.startswith("cuda")
    machine = describe_machine(device)
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    name = options.model or (BGE_SHAPE if cuda else DEMO_MODEL)
    rows = options.rows or (None if cuda else CPU_ROWS)
    corpora = read_corpora(NAMES if options.corpus == "both" else (options.corpus,), rows, options.data)
    with benchmark_model(name, options.data) as model:
        tokenizer = tokenizer_of(model)
        workloads = [tokenized(corpus, tokenizer) for corpus in corpora]
        print(f"{model.name}, {model.max_seq_length:,} tokens at most")
        print(statistics_table([(w.name, w.corpus.source, w.statistics()) for w in workloads]))
        gpu = str(machine["gpu"]) if cuda else None
        budget = options.budget_s or (CUDA_BUDGET_S if cuda else math.inf)
        spent = time.monotonic() - started + (OUT_OF_MEMORY_S if cuda else 0)
        race = Race(workloads, device, gpu, shape_of(model), budget - spent)
        run(race, model, options, Report(machine, f"python -m {MODULE} {shlex.join(given)}", name, options.json))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--model", help=f"a directory, {BGE_SHAPE} (CUDA's default) or {DEMO_MODEL} (the CPU's)")
    parser.add_argument("--corpus", default="both", choices=(*NAMES, "both"))
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--rows", type=int, help=f"of each corpus; {CPU_ROWS} on the CPU, all on CUDA")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of the table's first column, or {OUT_OF_MEMORY}")
    parser.add_argument("--budget-s", type=float, help=f"begin nothing later than this; {CUDA_BUDGET_S:.0f} on CUDA")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def run(race: Race, model: Model, options: argparse.Namespace, report: "Report") -> None:
    """All rounds, then the two starts with little memory on CUDA."""
    ours = encoders(model, race.device)
    end_to_end = EndToEnd(lambda: fastest(race, ours))
    every: list[Variant] = [*predecessors(model, race.device), *ours, end_to_end]
    wanted = set(options.only or [*(variant.name for variant in every), OUT_OF_MEMORY])
    if unknown := wanted - {variant.name for variant in every} - {OUT_OF_MEMORY}:
        names = ", ".join([*(variant.name for variant in every), OUT_OF_MEMORY])
        raise SystemExit(f"--only {' '.join(sorted(unknown))}: expected names among {names}.")
    variants = [variant for variant in every if variant.name in wanted]
    rows: list[Row] = []
    for number in range(options.rounds):
        race.run_round(variants, number, release_each=options.rounds == 1)
        rows = [finished(row, race, end_to_end) for row in race.rows(variants)]
        report.write(race.workloads, rows, ())
    for variant in variants:
        variant.release()
    memory: list[MemoryRow] = []
    if race.gpu is not None and OUT_OF_MEMORY in wanted:
        memory = run_out_of_memory(model, race.device, race.workloads[0])
    report.write(race.workloads, rows, memory)
    report.show(race.workloads, rows, memory)


def fastest(race: Race, ours: Sequence[Ours]) -> Ours:
    """The encoder that has the most rows a second so far; the default one before any has been measured."""
    corpus = race.workloads[0].name
    default = next(encoder for encoder in ours if encoder.name == "ours varlen")
    return max(ours, key=lambda encoder: race.rec_per_s(corpus, encoder.name) or float(encoder is default) * 1e-9)


def finished(row: Row, race: Race, end_to_end: EndToEnd) -> Row:
    """The row of the whole pipeline says which encoder it has, and how near to that encoder alone it comes."""
    if row.name != END_TO_END or row.rec_per_s is None or end_to_end.chosen is None:
        return row
    alone = race.rec_per_s(row.corpus, end_to_end.chosen.name)
    share = None if alone is None else row.rec_per_s / alone
    return replace(row, encoder=end_to_end.chosen.name, ratio_to_encoder_only=share)


class Report:
    """Where the findings of a run go."""

    def __init__(self, machine: Described, command: str, model: str, path: Path | None) -> None:
        self._machine = machine
        self._command = command
        # A directory's name is enough: where it lies is nobody's business.
        self._model = Path(model).name if Path(model).is_dir() else model
        self._path = path

    def _findings(self, workloads: Sequence[Workload], rows: Sequence[Row], memory: Sequence[MemoryRow]) -> Findings:
        ceilings = {w.name: padding_ceiling(w.corpus.texts, w.lengths) for w in workloads}
        gpu = self._machine.get("gpu")
        return Findings(self._model, None if gpu is None else str(gpu), rows, ceilings, memory)

    def write(self, workloads: Sequence[Workload], rows: Sequence[Row], memory: Sequence[MemoryRow]) -> None:
        """The JSON, where it was asked for: after each round, since a borrowed machine may stop at any time."""
        if self._path is None:
            return
        findings = self._findings(workloads, rows, memory)
        others = {
            "model": self._model,
            "tokens": {w.name: {"source": w.corpus.source, **w.statistics()} for w in workloads},
            "padding_ceiling": findings.ceilings,
            "memory": [asdict(row) for row in memory],
            "targets": [asdict(target) for target in targets(findings)],
        }
        write_rows(self._path, self._machine, self._command, rows, others)

    def show(self, workloads: Sequence[Workload], rows: Sequence[Row], memory: Sequence[MemoryRow]) -> None:
        """The tables, for people."""
        findings = self._findings(workloads, rows, memory)
        for workload in workloads:
            of_corpus = [row for row in rows if row.corpus == workload.name]
            print(f"\n{workload.name}\n\n{rows_table(of_corpus, cuda=findings.gpu is not None)}")
            ceiling = findings.ceilings[workload.name]
            print(f"padding ceiling: the predecessor computes {ceiling:.2f} tokens for each that it reads")
            for row in of_corpus:
                if row.ratio_to_encoder_only is not None:
                    print(f"{row.name}: {row.ratio_to_encoder_only:.1%} of {row.encoder} alone")
        if memory:
            print(f"\n{memory_table(memory)}")
        print(f"\n{targets_table(targets(findings))}")


if __name__ == "__main__":
    main()
