"""What was promised of the encoder, beside what a run of the benchmark found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from steam_assets.encoder.models import DEMO_MODEL
from steam_assets_tests.benchmarks.bge_shape import BGE_SHAPE
from steam_assets_tests.benchmarks.out_of_memory import BAD_START, PROFILED, MemoryRow
from steam_assets_tests.benchmarks.report import Row, markdown_table

EQUAL_COSINE = 0.99999
SIXTEEN_BIT_RECALL = 0.995
END_TO_END = "ours end to end"

Verdict = Literal["met", "missed", "not measured", "not applicable here"]


@dataclass(frozen=True)
class Target:
    """A promise, where it holds (``place``), and what came of it."""

    place: str
    corpus: str
    what: str
    found: str
    verdict: Verdict


@dataclass(frozen=True)
class Findings:
    """All that targets are compared with; ``ceilings`` are the predecessor's padded tokens over real ones."""

    model: str
    gpu: str | None
    rows: Sequence[Row]
    ceilings: Mapping[str, float]
    memory: Sequence[MemoryRow] = ()

    def row(self, corpus: str, name: str) -> Row:
        """The figures of this name; of none where it was skipped or not asked for."""
        return next((row for row in self.rows if (row.corpus, row.name) == (corpus, name)), Row(name, corpus))

    def best(self, rows: Sequence[Row]) -> float | None:
        """The best ratio to the predecessor among these."""
        return max((row.ratio_to_predecessor for row in rows if row.ratio_to_predecessor is not None), default=None)

    def ours(self, corpus: str) -> list[Row]:
        """Ours without the database."""
        return [r for r in self.rows if r.corpus == corpus and r.name.startswith("ours") and r.name != END_TO_END]


def targets(findings: Findings) -> list[Target]:
    """The targets of issue 3 for each corpus that was measured."""
    on_cpu = findings.gpu is None and DEMO_MODEL in findings.model
    on_gpu = findings.gpu is not None and "H200" in findings.gpu and findings.model == BGE_SHAPE
    return [
        *(target for corpus in findings.ceilings for target in _padding(findings, corpus)),
        *(target for corpus in findings.ceilings for target in _cpu(findings, corpus, on_cpu)),
        *(target for corpus in findings.ceilings for target in _gpu(findings, corpus, on_gpu)),
        *_memory(findings, findings.gpu is not None),
    ]


def _padding(findings: Findings, corpus: str) -> Iterator[Target]:
    for name, most in (("ours padded", 0.05), ("ours varlen", 0.0)):
        waste = findings.row(corpus, name).padding_waste
        yield compared("anywhere", corpus, f"padding of {name} <= {most:.0%}", waste, True, most=most, form=".2%")


def _cpu(findings: Findings, corpus: str, here: bool) -> Iterator[Target]:
    place = "CPU, MiniLM"
    ceiling = findings.ceilings[corpus]
    torch = findings.best([findings.row(corpus, name) for name in ("ours varlen", "ours padded")])
    ours = findings.ours(corpus)
    equal = findings.best([row for row in ours if row.cosine_min is not None and row.cosine_min >= EQUAL_COSINE])
    halves = [row for row in ours if row.recall_at_10 is not None and row.recall_at_10 >= SIXTEEN_BIT_RECALL]
    half = findings.best([row for row in halves if "bf16" in row.name])
    yield compared(place, corpus, "torch fp32 >= 1.15x", torch, here, least=1.15)
    yield compared(place, corpus, f"torch fp32 >= 0.9 of the ceiling, {ceiling:.2f}x", torch, here, least=0.9 * ceiling)
    yield compared(place, corpus, "the best of equal vectors >= 1.6x, aim 2x", equal, here, least=1.6)
    yield compared(place, corpus, f"16 bit of recall@10 >= {SIXTEEN_BIT_RECALL}: >= 3x", half, here, least=3.0)


def _gpu(findings: Findings, corpus: str, here: bool) -> Iterator[Target]:
    place = "H200, bge-m3's shape"
    ours = findings.ours(corpus)
    best = findings.best(ours)
    half = findings.row(corpus, "predecessor bf16").ratio_to_predecessor
    rows = [*ours, findings.row(corpus, END_TO_END)]
    mfu = max((row.mfu for row in rows if row.mfu is not None), default=None)
    busy = max((row.gpu_busy_percent for row in rows if row.gpu_busy_percent is not None), default=None)
    share = findings.row(corpus, END_TO_END).ratio_to_encoder_only
    yield compared(place, corpus, ">= 20x the predecessor", best, here, least=20)
    ratio = best / half if best is not None and half else None
    yield compared(place, corpus, ">= 2.5x the predecessor in bf16", ratio, here, least=2.5)
    yield compared(place, corpus, "MFU >= 50 %", mfu, here, least=0.5, form=".1%")
    yield compared(place, corpus, "end to end >= 90 % of the encoder alone", share, here, least=0.9, form=".1%")
    yield compared(place, corpus, "GPU busy >= 92 %", busy, here, least=92, form=".0f")


def _memory(findings: Findings, here: bool) -> Iterator[Target]:
    errors = {row.name: float(row.memory_errors) for row in findings.memory}
    for name, most in ((PROFILED, 0), (BAD_START, 6)):
        what = f"out of memory {name} <= {most} times"
        yield compared("CUDA", "", what, errors.get(name), here, most=most, form=".0f")


def compared(
    place: str,
    corpus: str,
    what: str,
    value: float | None,
    here: bool = True,
    least: float | None = None,
    most: float | None = None,
    form: str = ".2f",
) -> Target:
    """Compare a value with the bound it has; it is shown where the target does not apply, too."""
    found = "" if value is None else f"{value:{form}}"
    if not here:
        return Target(place, corpus, what, found, "not applicable here")
    if value is None:
        return Target(place, corpus, what, found, "not measured")
    met = (least is None or value >= least) and (most is None or value <= most)
    return Target(place, corpus, what, found, "met" if met else "missed")


def targets_table(found: Sequence[Target]) -> str:
    """For people."""
    header = ("where", "corpus", "target", "found", "verdict")
    return markdown_table(header, [(t.place, t.corpus, t.what, t.found, t.verdict) for t in found], left=3)
