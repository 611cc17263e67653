"""How many threads of a CPU a short text is best encoded with. For what answers queries; filling columns takes all."""

import time
from collections.abc import Callable, Iterator
from statistics import median

from steam_assets.encoder.encoder import Encoder

TIMES = 7
WORTH_A_THREAD = 0.8
"""Twice the threads must take less than this share of the time, or they are better left to other searches."""


def use_few_threads(encoder: Encoder, fewest: int = 1) -> int:
    """Have torch use as few threads as short texts of this encoder are encoded quickly with; how many it uses now.

    From now on and in every thread of this process; never fewer than ``fewest``. Elsewhere than on torch's CPU nothing
    is done. With MiniLM a second thread took a query from 15.7 to 17.5 ms, and 34 ms of processors (2026-11, 2 cores).
    """
    if encoder.backend.name != "torch" or encoder.backend.device != "cpu":
        return fewest
    import torch

    def seconds_with(threads: int) -> float:
        torch.set_num_threads(threads)
        return median(_seconds(encoder))

    chosen = max(fewest, fewest_threads(seconds_with, torch.get_num_threads()))
    torch.set_num_threads(chosen)
    return chosen


def fewest_threads(seconds_with: Callable[[int], float], most: int) -> int:
    """Doubled from 1 as long as that pays."""
    threads, seconds = 1, seconds_with(1)
    while 2 * threads <= most and (fewer := seconds_with(2 * threads)) < WORTH_A_THREAD * seconds:
        threads, seconds = 2 * threads, fewer
    return threads


def _seconds(encoder: Encoder) -> Iterator[float]:
    for number in range(TIMES):
        began = time.perf_counter()
        encoder.encode([f"{number} cozy farming games with friends"])
        yield time.perf_counter() - began
