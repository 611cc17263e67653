"""How often memory runs out on CUDA: from a budget far too large, and from the one that is measured at the start."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from steam_assets.encoder.loading import EncoderSettings
from steam_assets.encoder.models import Model
from steam_assets_tests.benchmarks.report import markdown_table
from steam_assets_tests.benchmarks.variants import Ours
from steam_assets_tests.benchmarks.workload import Workload

BAD_BUDGET = 1 << 22
FREE_BYTES = 4 << 30
"""Left beside the weights: about what a card of 8 GB has for bge-m3 in 16 bit."""
BAD_START = "from a budget of 2^22 tokens"
PROFILED = "from the measured budget"


@dataclass(frozen=True)
class MemoryRow:
    """A pass over a corpus with little memory: how often it ran out, and where the budget ended."""

    name: str
    free_bytes: int
    memory_errors: int
    first_budget: int
    last_budget: int
    rows_without_vector: int
    seconds: float


def run_out_of_memory(model: Model, device: str, workload: Workload) -> list[MemoryRow]:
    """Both starts; nothing else should be loaded on the device."""
    bad = Ours(BAD_START, model, EncoderSettings(device=device, batch_tokens=BAD_BUDGET))
    # Loaded first, so that the limit leaves so much beside the weights.
    bad.encoder.backend.release_memory()
    with limited_process(device, FREE_BYTES):
        found = [_embed(bad, workload)]
    bad.release()
    # Memory that is really gone: what is free is asked of the device, which knows nothing of this process's limit.
    with occupied_device(device, FREE_BYTES):
        found.append(_embed(Ours(PROFILED, model, EncoderSettings(device=device)), workload))
    return found


def _embed(ours: Ours, workload: Workload) -> MemoryRow:
    budget = ours.encoder.budget
    first = budget.tokens
    done = ours.embed(workload)
    missing = int((~np.isfinite(done.vectors).all(axis=1)).sum())
    return MemoryRow(ours.name, FREE_BYTES, done.memory_errors, first, budget.tokens, missing, done.seconds)


@contextmanager
def limited_process(device: str, free_bytes: int) -> Iterator[None]:
    """Let torch have so much more than it holds now."""
    import torch

    total = torch.cuda.get_device_properties(device).total_memory
    wanted = torch.cuda.memory_reserved(device) + free_bytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, wanted / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@contextmanager
def occupied_device(device: str, free_bytes: int) -> Iterator[None]:
    """Hold all of the device's memory but so much, and what a 16-bit bge-m3 takes."""
    import torch

    weights = 1_200_000_000
    free, _total = torch.cuda.mem_get_info(device)
    ballast = torch.empty(max(0, free - free_bytes - weights), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del ballast
        torch.cuda.empty_cache()


def memory_table(rows: Sequence[MemoryRow]) -> str:
    """For people."""
    return markdown_table(
        ("out of memory", "free", "times", "first budget", "last budget", "rows without vector", "seconds"),
        [
            (
                row.name,
                f"{row.free_bytes / (1 << 30):.1f} GiB",
                f"{row.memory_errors}",
                f"{row.first_budget:,}",
                f"{row.last_budget:,}",
                f"{row.rows_without_vector:,}",
                f"{row.seconds:.1f}",
            )
            for row in rows
        ],
    )
