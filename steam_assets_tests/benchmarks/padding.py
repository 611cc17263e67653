"""Padding by each rule of cutting texts into batches, on real token counts; no model is loaded.

`python -m steam_assets_tests.benchmarks.padding --json padding.json`
"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.batching import PADDED, UNPADDED, Packing
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets_tests.benchmarks.bge_shape import BGE_SHAPE, DIMENSION, MAX_TOKENS, bge_tokenizer
from steam_assets_tests.benchmarks.corpus import NAMES, REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.flops import BGE_M3, TransformerShape, shape_of
from steam_assets_tests.benchmarks.machine import describe_machine
from steam_assets_tests.benchmarks.report import markdown_table, statistics_table, write_rows
from steam_assets_tests.benchmarks.rules import (
    PREDECESSOR_CHUNK,
    as_they_come,
    by_tokens,
    fixed_batches,
    measure_waste,
    packed_batches,
)
from steam_assets_tests.benchmarks.workload import Workload, tokenized, tokenizer_of

MODULE = "steam_assets_tests.benchmarks.padding"
BUDGETS = (4_096, 16_384, 65_536)
WINDOWS = (2_048, 16_384)
PACKINGS = {
    "padded": Packing(padded=True),
    "padded, capped": PADDED,
    "varlen": UNPADDED,
}


@dataclass(frozen=True)
class PaddingRow:
    """What a rule makes of a corpus; ``window_rows`` are sorted together, a budget is in tokens.

    The ratio is of the tokens that are computed: the predecessor's over this rule's, of arithmetic likewise.
    """

    name: str
    tokenizer: str
    corpus: str
    window_rows: int
    budget: int | None
    real_over_padded: float
    padding_waste: float
    forwards: int
    flops_over_ideal: float
    ratio_to_predecessor: float


@dataclass(frozen=True)
class Rule:
    """A way of cutting a corpus, and what it comes to."""

    name: str
    window_rows: int
    budget: int | None
    batches: Sequence[NDArray[np.int64]]
    padded: bool = True


def main(arguments: Sequence[str] | None = None) -> None:
    """Count tokens, cut, and print a table for each tokenizer and corpus."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    corpora = read_corpora(NAMES, options.rows, options.data)
    rows: list[PaddingRow] = []
    statistics: list[tuple[str, str, dict[str, int | float]]] = []
    for name in options.tokenizer:
        tokenizer, shape, shown = find_tokenizer(name, options.data)
        for corpus in corpora:
            workload = tokenized(corpus, tokenizer)
            statistics.append((f"{shown}, {corpus.name}", corpus.source, workload.statistics()))
            rows += measure(workload, shape, shown)
    print(statistics_table(statistics))
    for title, source, _numbers in statistics:
        print(f"\n{title}, {source}\n\n{padding_table([r for r in rows if f'{r.tokenizer}, {r.corpus}' == title])}")
    if options.json is not None:
        tokens = {title: {"source": source, **numbers} for title, source, numbers in statistics}
        write_rows(
            options.json, describe_machine("cpu"), f"python -m {MODULE} {shlex.join(given)}", rows, {"tokens": tokens}
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--tokenizer",
        nargs="+",
        default=[DEMO_MODEL, BGE_SHAPE],
        metavar="MODEL",
        help=f"{DEMO_MODEL}, {BGE_SHAPE} (trained on the rows), or a model's directory",
    )
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--rows", type=int, help="of each corpus; all")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def find_tokenizer(name: str, data: Path) -> tuple[TextTokenizer, TransformerShape, str]:
    """A model's tokenizer, its shape, and the name that is shown."""
    if name != BGE_SHAPE:
        model = find_model(name)
        return tokenizer_of(model), shape_of(model), model.name
    model = Model(BGE_SHAPE, "", "", DIMENSION, MAX_TOKENS, "cls")
    return TextTokenizer(bge_tokenizer(data), model), BGE_M3, BGE_SHAPE


def rules(texts: Sequence[str], lengths: NDArray[np.int64]) -> Iterator[Rule]:
    """The predecessor's rule first; ours for each budget and window."""
    chunk = PREDECESSOR_CHUNK
    yield Rule("predecessor", chunk, None, list(fixed_batches(texts, lengths)))
    yield Rule("16 rows, unsorted", chunk, None, list(fixed_batches(texts, lengths, as_they_come)))
    yield Rule("16 rows, by tokens", chunk, None, list(fixed_batches(texts, lengths, by_tokens)))
    for window in WINDOWS:
        for name, packing in PACKINGS.items():
            for budget in BUDGETS:
                batches = list(packed_batches(lengths, packing, budget, window))
                yield Rule(f"ours {name}, {budget:,} of {window:,} rows", window, budget, batches, packing.padded)


def measure(workload: Workload, shape: TransformerShape, tokenizer: str) -> list[PaddingRow]:
    """Every rule on one corpus: all its rows, duplicates too, so that the rules differ in nothing else."""
    ideal = shape.flops(workload.lengths)
    found: list[PaddingRow] = []
    predecessor = None
    for rule in rules(workload.corpus.texts, workload.lengths):
        waste = measure_waste(rule.batches, rule.padded)
        predecessor = predecessor or waste
        found.append(
            PaddingRow(
                name=rule.name,
                tokenizer=tokenizer,
                corpus=workload.name,
                window_rows=rule.window_rows,
                budget=rule.budget,
                real_over_padded=waste.real / waste.padded,
                padding_waste=waste.share,
                forwards=waste.forwards,
                flops_over_ideal=shape.padded_flops(rule.batches) / ideal if rule.padded else 1.0,
                ratio_to_predecessor=predecessor.padded / waste.padded,
            )
        )
    return found


def padding_table(rows: Sequence[PaddingRow]) -> str:
    """The rules of one tokenizer and corpus."""
    header = ("", "real/padded", "padding", "forwards", "FLOP/ideal", "x")
    return markdown_table(
        header,
        [
            (
                row.name,
                f"{row.real_over_padded:.3f}",
                f"{row.padding_waste:.1%}",
                f"{row.forwards:,}",
                f"{row.flops_over_ideal:.2f}",
                f"{row.ratio_to_predecessor:.2f}",
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
