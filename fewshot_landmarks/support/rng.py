"""Random draws that are the same on every platform and in every release of NumPy.

Only `SeedSequence` and the raw output of a bit generator are used: NumPy guarantees both streams,
whereas the methods of `Generator` may change between releases.
"""

from collections.abc import Iterator

import numpy as np


def raw_stream(*seed: int) -> Iterator[int]:
    """Endless 64-bit integers that depend on `seed` alone."""
    bits = np.random.PCG64(np.random.SeedSequence(seed))
    while True:
        yield int(bits.random_raw())


def permutation(size: int, *seed: int) -> np.ndarray:
    """A permutation of range(size): (size,) int64."""
    keys = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(size)
    return np.argsort(keys, kind="stable")
