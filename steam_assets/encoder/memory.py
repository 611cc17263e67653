"""Which errors mean that memory ran out, how it is given back, and how much of it a forward takes."""

import gc
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

MEMORY_ERRORS = (
    "out of memory",  # CUDA and HIP allocators, "CUDA error: out of memory" (torch.AcceleratorError), drivers
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # cublasCreate() on a full device
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",  # also ..._HOST_ALLOCATION_FAILED and ..._DEVICE_ALLOCATION_FAILED
    "CUDNN_STATUS_NOT_SUPPORTED",  # cuDNN finds no plan within the free memory; accelerate treats it the same way
    "can't alloc",  # DefaultCPUAllocator on Linux, "can't allocate memory"; Xbyak, which writes OpenVINO's kernels
    "not enough memory",  # DefaultCPUAllocator on Windows
    "Failed to allocate",  # OpenVINO's tensors, "Failed to allocate 50331648 bytes of memory"
    "std::bad_alloc",  # the rest of OpenVINO
)
# After these the CUDA context is lost, whatever else the message says: a retry would only hide the first error.
POISONED_CONTEXT = ("device-side assert triggered", "illegal memory access", "unspecified launch failure")

FREE_SHARE = 0.85
"""Of the free memory: the rest is for fragmentation, and for whoever else uses the device."""
MEASURED_TOKENS = (4_096, 12_288)
LEAST_TOKENS = 512
MOST_PADDED_TOKENS = 16_384
"""Of real reviews in windows of 2,048 rows, 5 % are padding then, and 6 % with 65,536 (benchmarks/padding.py)."""
MOST_CUDA_TOKENS = 65_536
"""Larger packs gain nothing more: at 32 to 64 thousand tokens a forward takes ten times its launches (encoder.md 8)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch could have passed where ``error`` was raised."""
    message = str(error)
    if is_poisoned(error):
        return False
    # By name, because importing torch takes seconds and old versions keep the class elsewhere.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(form in message for form in MEMORY_ERRORS)


def is_poisoned(error: BaseException) -> bool:
    """Whether the CUDA context is lost: everything this process does on the device will fail now."""
    return isinstance(error, RuntimeError) and any(form in str(error) for form in POISONED_CONTEXT)


def tokens_that_fit(measure: Callable[[int], int], free_bytes: int, most: int) -> int:
    """The tokens of a forward that take 85 % of what is free, at most ``most``: bytes = a + b x tokens, measured twice.

    ``measure`` runs a forward of so many tokens and gives the bytes it took; when that runs out of memory the fewest
    tokens are the budget.
    """
    try:
        (few, bytes_few), (many, bytes_many) = ((tokens, measure(tokens)) for tokens in MEASURED_TOKENS)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return LEAST_TOKENS
    per_token = max(1.0, (bytes_many - bytes_few) / (many - few))
    fixed = max(0.0, bytes_few - per_token * few)
    tokens = int(max(LEAST_TOKENS, min(most, (FREE_SHARE * free_bytes - fixed) / per_token)))
    logger.info(
        "A forward takes %.1f MB and %.1f KB a token; %.1f GB are free: at most %d tokens a batch.",
        *(fixed / 1e6, per_token / 1e3, free_bytes / 1e9, tokens),
    )
    return tokens


def free_memory_bytes(device: str) -> int:
    """What a CUDA device has left, with what torch holds of it and does not use; works without NVML."""
    import torch

    free, _total = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def release_memory(device: str) -> None:
    """Give back what nothing refers to any more; call it outside the except block, which would keep frames alive."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def peak_memory_bytes(device: str) -> int:
    """The most memory so far: allocated tensors on a CUDA device, else this process's resident memory."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux


def reset_peak_memory(device: str) -> None:
    """Start ``peak_memory_bytes`` again, where the platform can: CUDA only."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
