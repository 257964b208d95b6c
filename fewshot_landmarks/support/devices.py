"""The device that a command's --device asks for, and the most memory that a piece of work took."""

import ctypes
import math
from pathlib import Path

import torch

from fewshot_landmarks.support.errors import UserError


def find_device(name: str) -> str:
    """The device of a name; of "auto", a GPU if there is one. `UserError` if torch cannot use it."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine's torch finds no GPU; use cpu or auto")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError):
        raise UserError(
            f"--device {name}: this machine's torch has none; use auto, cpu or cuda"
        ) from None
    return name


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
