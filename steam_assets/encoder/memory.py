"""Which errors mean that memory ran out, and how it is given back. What to try next is in transformer.py."""

import gc

MEMORY_ERRORS = (
    "out of memory",  # CUDA and HIP allocators, "CUDA error: out of memory" (torch.AcceleratorError), drivers
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # cublasCreate() on a full device
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",  # also ..._HOST_ALLOCATION_FAILED and ..._DEVICE_ALLOCATION_FAILED
    "CUDNN_STATUS_NOT_SUPPORTED",  # cuDNN finds no plan within the free memory; accelerate treats it the same way
    "can't allocate memory",  # DefaultCPUAllocator on Linux
    "not enough memory",  # DefaultCPUAllocator on Windows
)
# After these the CUDA context is lost, whatever else the message says: a retry would only hide the first error.
POISONED_CONTEXT = ("device-side assert triggered", "illegal memory access", "unspecified launch failure")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch could have passed where ``error`` was raised."""
    message = str(error)
    if any(form in message for form in POISONED_CONTEXT):
        return False
    # By name, because importing torch takes seconds and old versions keep the class elsewhere.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(form in message for form in MEMORY_ERRORS)


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
