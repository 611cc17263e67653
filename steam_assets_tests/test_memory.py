"""Telling errors that a smaller batch avoids from those that it would only hide."""

from collections.abc import Callable

import pytest

from steam_assets.encoder.memory import LEAST_TOKENS, is_out_of_memory, is_poisoned, peak_memory_bytes, tokens_that_fit

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB",
    "CUDA error: out of memory" + ADVICE,
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    "Exception from src/inference/src/cpp/core.cpp:109: std::bad_alloc",
    "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.",
    "[CPU] Gather node with name 'x' Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\n"
    "Failed to allocate 50331648 bytes of memory\n\n",
    "[CPU] Subgraph node with name 'x' can't alloc\n\n",
]
NOT_MEMORY = [
    "CUDA error: device-side assert triggered" + ADVICE,
    "CUDA error: an illegal memory access was encountered" + ADVICE,
    "CUDA error: unspecified launch failure" + ADVICE,
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    "mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
    "index out of range in self",
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_every_form_of_memory_error_is_recognised(message: str) -> None:
    """The allocators, the libraries and the driver each say it in their own way."""
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("message", NOT_MEMORY)
def test_other_errors_are_not_taken_for_memory_errors(message: str) -> None:
    """A poisoned context or a wrong shape must stop the run, though torch's advice speaks of memory or assertions."""
    assert not is_out_of_memory(RuntimeError(message))


def test_torchs_own_classes_are_recognised() -> None:
    """OutOfMemoryError is known without its message, AcceleratorError only by what it says."""
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory" + ADVICE))
    assert not is_out_of_memory(torch.AcceleratorError("CUDA error: device-side assert triggered" + ADVICE))


def test_a_real_allocation_failure_is_recognised() -> None:
    """The CPU allocator's words, from torch itself."""
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.float32)
    assert is_out_of_memory(caught.value)


def test_pythons_own_memory_error_counts_and_other_errors_with_such_words_do_not() -> None:
    """Only errors of a forward pass are looked into."""
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_peak_memory_is_in_bytes() -> None:
    """A Python process with numpy has between 10 MB and 1 TB."""
    assert 10**7 < peak_memory_bytes("cpu") < 10**12


def test_a_lost_context_is_told_from_memory() -> None:
    """After it nothing on the device works, and a retry would hide the first error."""
    assert is_poisoned(RuntimeError("CUDA error: an illegal memory access was encountered" + ADVICE))
    assert not is_poisoned(RuntimeError("CUDA error: out of memory" + ADVICE))
    assert not is_poisoned(ValueError("device-side assert triggered"))


def device_of(fixed: int, per_token: int) -> Callable[[int], int]:
    """What forwards take on a device where bytes = fixed + per_token x tokens."""
    return lambda tokens: fixed + per_token * tokens


@pytest.mark.parametrize(
    ("fixed", "per_token", "free", "tokens"),
    [
        (0, 100_000, 10**9, 8_500),
        (85_000_000, 100_000, 10**9, 7_650),
        (0, 100_000, 10**12, 65_536),
        (0, 100_000, 10**6, LEAST_TOKENS),
        (10**9, 0, 10**10, 65_536),
    ],
    ids=["85 % of what is free", "less what every forward takes", "no more than is useful", "never nothing", "flat"],
)
def test_the_budget_is_what_fits_into_free_memory(fixed: int, per_token: int, free: int, tokens: int) -> None:
    """Two forwards are measured: bytes = a + b x tokens."""
    assert tokens_that_fit(device_of(fixed, per_token), free, 65_536) == tokens


def test_a_device_too_full_to_be_measured_starts_with_the_least() -> None:
    """The controller finds out the rest; other errors are not swallowed."""

    def full(tokens: int) -> int:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    def broken(tokens: int) -> int:
        raise RuntimeError("CUDA error: device-side assert triggered")

    assert tokens_that_fit(full, 10**9, 65_536) == LEAST_TOKENS
    with pytest.raises(RuntimeError, match="device-side assert"):
        tokens_that_fit(broken, 10**9, 65_536)
