"""Rounds in which every way of embedding has its turn, and the figures that come of them."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.precision import PrecisionReport, compare
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.benchmarks.flops import TransformerShape, peak_flops
from steam_assets_tests.benchmarks.report import Row
from steam_assets_tests.benchmarks.rules import PREDECESSOR_CHUNK, sample_of_batches
from steam_assets_tests.benchmarks.variants import Measurement, Predecessor, Variant
from steam_assets_tests.benchmarks.workload import Workload

REFERENCE = "predecessor"
COMPARED_TEXTS = 2_000
"""Of a corpus; recall looks each of them up among all of them."""
PASS_S = 8.0
"""A pass on CUDA is repeated until it takes so long: NVML's use of a GPU is that of up to a second ago."""
MOST_PASSES = 16
PREDECESSOR_S = 8.0
"""Of a predecessor's pass on CUDA: what would take longer is measured on fewer rows."""
TIMED_ROWS = 256
FIRST_TURN_S = 15.0
"""What has to be left for a variant that has not been seen yet."""

Key = tuple[str, str]


@dataclass
class Race:
    """Measurements by corpus and name, as they come in; ``skipped`` says why there are none."""

    workloads: Sequence[Workload]
    device: str
    gpu: str | None
    shape: TransformerShape
    budget_s: float = math.inf
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    measurements: dict[Key, list[Measurement]] = field(default_factory=dict)
    precision: dict[Key, PrecisionReport] = field(default_factory=dict)
    skipped: dict[Key, str] = field(default_factory=dict)
    _sizes: dict[Key, Workload] = field(default_factory=dict)
    _references: dict[str, tuple[NDArray[np.intp], Vectors]] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def run_round(self, variants: Sequence[Variant], number: int, release_each: bool) -> None:
        """Each variant once over each corpus; every other round backwards, so that what drifts cancels out.

        ``release_each``: no variant is needed again, and only one at a time has to fit into the memory.
        """
        for variant in variants if number % 2 == 0 else variants[::-1]:
            for workload in self.workloads:
                if (workload.name, variant.name) not in self.skipped:
                    self._take_turn(number, variant, workload)
            if release_each:
                variant.release()

    def rec_per_s(self, corpus: str, name: str) -> float | None:
        """Rows in a second, over the median round; None where there is none."""
        found = self.measurements.get((corpus, name))
        return len(self._sizes[corpus, name]) / median(m.seconds for m in found) if found else None

    def _tokens_per_s(self, corpus: str, name: str) -> float | None:
        found = self.measurements.get((corpus, name))
        return self._sizes[corpus, name].tokens / median(m.seconds for m in found) if found else None

    def _take_turn(self, number: int, variant: Variant, workload: Workload) -> None:
        key = workload.name, variant.name
        known = self.measurements.get(key)
        left = self.budget_s - (time.monotonic() - self._started)
        if left < (max(m.seconds for m in known) if known else FIRST_TURN_S):
            if known is None:
                self.skipped[key] = f"{max(0.0, left):.0f} s were left of {self.budget_s:.0f}"
            return
        measured = self._attempt(variant, workload)
        if measured is None:
            # Out here the error's traceback is gone, which would keep what its frames refer to.
            variant.release()
            self.measurements.pop(key, None)
            self.say(f"{variant.name}, {workload.name}: skipped, {self.skipped[key]}")
            return
        self.say(f"round {number + 1}, {workload.name}, {variant.name}: {measured.seconds:.2f} s")
        self._keep(key, workload, measured)

    def _attempt(self, variant: Variant, workload: Workload) -> Measurement | None:
        """A measurement; None, and a reason in ``skipped``, where there can be none."""
        key = workload.name, variant.name
        try:
            variant.load(workload)
            if key not in self._sizes:
                self._sizes[key] = self._sized(variant, workload)
            return variant.embed(self._sizes[key])
        except (SteamAssetsError, ImportError, RuntimeError, OSError) as error:
            self.skipped[key] = str(error).partition("\n")[0] or type(error).__name__
            return None

    def _sized(self, variant: Variant, workload: Workload) -> Workload:
        """On CUDA fewer rows for a slow predecessor, and several passes for ours; on the CPU one pass over all."""
        if self.device == "cpu":
            return workload
        if isinstance(variant, Predecessor):
            few = workload.first(TIMED_ROWS)
            rows = max(TIMED_ROWS, int(PREDECESSOR_S / variant.embed(few).seconds * len(few)))
            if rows >= min(len(workload), PREDECESSOR_CHUNK):
                return workload.first(rows)
            self.say(f"{variant.name}, {workload.name}: {rows:,} of {len(workload):,} rows only, in whole batches")
            return workload.only(sample_of_batches(workload.corpus.texts, rows))
        return workload.times(min(MOST_PASSES, max(1, math.ceil(PASS_S / variant.embed(workload).seconds))))

    def _keep(self, key: Key, workload: Workload, measured: Measurement) -> None:
        """Keep the figures; of the vectors only how near those of the first round are to the reference."""
        corpus, name = key
        places = self._sizes[key].places
        if name == REFERENCE and corpus not in self._references:
            self._references[corpus] = places, measured.vectors
        if corpus in self._references and key not in self.precision:
            known, reference = self._references[corpus]
            both, here, there = np.intersect1d(places, known, assume_unique=True, return_indices=True)
            chosen = np.flatnonzero(workload.is_new[both])[:COMPARED_TEXTS]
            vectors = measured.vectors[here[chosen]]
            self.precision[key] = compare(vectors, reference[there[chosen]], workload.lengths[both[chosen]])
        self.measurements.setdefault(key, []).append(replace(measured, vectors=measured.vectors[:0]))

    def rows(self, variants: Sequence[Variant]) -> list[Row]:
        """What is known by now, corpus by corpus in the order of the variants."""
        return [self._row(workload, variant.name) for workload in self.workloads for variant in variants]

    def _row(self, workload: Workload, name: str) -> Row:
        key = workload.name, name
        found = self.measurements.get(key)
        if not found:
            return Row(name, workload.name, skipped=self.skipped.get(key, "not run yet"))
        size, work, precision = self._sizes[key], found[-1].work, self.precision.get(key)
        seconds = [measured.seconds for measured in found]
        tokens_per_s = size.tokens / median(seconds)
        reference = self._tokens_per_s(workload.name, REFERENCE)
        # Ours reads the same text once: that is no arithmetic to be proud of.
        read = size.distinct if name.startswith("ours") else size.lengths
        peak = None if self.gpu is None else peak_flops(self.gpu, found[-1].arithmetic)
        busy = [measured.gpu_busy_percent for measured in found if measured.gpu_busy_percent is not None]
        return Row(
            name,
            workload.name,
            ratio_to_predecessor=None if reference is None else tokens_per_s / reference,
            rec_per_s=self.rec_per_s(workload.name, name),
            tokens_per_s=tokens_per_s,
            padding_waste=work.padding_share,
            forwards=work.forwards // size.passes,
            mfu=None if peak is None else self.shape.flops(read) * size.passes / median(seconds) / peak,
            peak_memory_bytes=max(measured.peak_memory_bytes for measured in found),
            cosine_min=None if precision is None else precision.cosine_min,
            cosine_mean=None if precision is None else precision.cosine_mean,
            recall_at_10=None if precision is None else precision.recall_at_10,
            seconds_median=median(seconds),
            seconds_min=min(seconds),
            seconds_max=max(seconds),
            rounds=len(found),
            rows=len(size.corpus),
            passes=size.passes,
            gpu_busy_percent=median(busy) if busy else None,
            memory_errors=sum(measured.memory_errors for measured in found),
        )
