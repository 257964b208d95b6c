"""The most memory that a piece of work took in a process that does one after another."""

import ctypes
import math
from pathlib import Path

import torch


def forget_peak(device: str) -> bool:
    """Begin to measure anew. False, and nothing done, where the system cannot."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib(device: str) -> float:
    """The peak since, MiB: resident memory, or the GPU's on a GPU; NaN where unknown."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    peak = next((line.split()[1] for line in status if line.startswith("VmHWM:")), math.nan)
    return float(peak) / 2**10


def release_freed() -> None:
    """Hand what is freed back to the system, so that a peak is that of what follows alone.

    Does nothing where the C library cannot.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass


def limit_memory(gib: float | None) -> None:
    """Let this process have so much address space; then an allocation fails, not the machine."""
    if gib:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (int(gib * 2**30), -1))


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python could not get memory, on the CPU or on a GPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
