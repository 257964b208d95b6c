"""What a frozen network makes of an image, computed once: in memory, and in files."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from fewshot_landmarks.support.files import written_whole

DIGEST = 16  # bytes
BATCH = 16  # images


class Memo:
    """A function of images, remembered by each image's content.

    Images go through it one by one, so that what is found for one does not depend, to the last
    byte, on which images came with it; those of a file go in batches, always the same, which is
    twice as fast.

    compute: images (B, 3, S, S) to (B, ...), where files are made or read vectors (B, L) of half
    precision; capacity: bytes in memory, beyond which what was not read from files is computed anew.
    """

    def __init__(self, compute: Callable[[torch.Tensor], torch.Tensor], capacity: int):
        self._compute = compute
        self._capacity = capacity
        self._known: dict[bytes, torch.Tensor] = {}
        self._files: dict[bytes, tuple[np.ndarray, int]] = {}
        self._size = 0

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) to what is found for them, on their device."""
        return torch.stack([self._one(image).to(images.device) for image in images])

    def forget(self) -> None:
        """Forget what is in memory: the function has changed."""
        self._known, self._size = {}, 0

    def read(self, paths: Iterable[Path]) -> None:
        """Look up images in files that `write` made, too; raises `ValueError` for any other."""
        for path in paths:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            if rows.ndim != 2 or rows.dtype != np.uint8 or rows.shape[1] < DIGEST:
                raise ValueError(f"{path} holds no rows of bytes")
            digests = np.ascontiguousarray(rows[:, :DIGEST])
            self._files |= {row.tobytes(): (rows, i) for i, row in enumerate(digests)}

    def write(self, path: Path, images: Sequence[torch.Tensor]) -> None:
        """Store the vectors of images (3, S, S), each behind its image's digest, as .npy of bytes."""
        with written_whole(path, summed=True) as file:
            for first in range(0, max(1, len(images)), BATCH):
                batch = [images[i] for i in range(first, min(first + BATCH, len(images)))]
                rows = self._rows(batch) if batch else np.empty((0, DIGEST), np.uint8)
                if first == 0:
                    shape = (len(images), rows.shape[1])
                    said = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, said)
                file.write(rows.tobytes())

    @torch.no_grad()
    def _rows(self, images: list[torch.Tensor]) -> np.ndarray:
        found = self._compute(torch.stack(images)).cpu().numpy()
        digests = [np.frombuffer(_digest(image), np.uint8) for image in images]
        return np.concatenate([np.stack(digests), found.view(np.uint8)], 1)

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        key = _digest(image)
        if (found := self._known.get(key)) is not None:
            return found
        if key in self._files:
            rows, i = self._files[key]
            return torch.from_numpy(rows[i, DIGEST:].copy()).view(torch.float16)
        found = self._compute(image.unsqueeze(0))[0]
        size = found.element_size() * found.nelement()
        if self._size + size <= self._capacity:
            self._known[key] = found
            self._size += size
        return found


def _digest(image: torch.Tensor) -> bytes:
    said = f"{image.dtype} {tuple(image.shape)}".encode()
    return hashlib.blake2b(image.cpu().numpy().tobytes(), digest_size=DIGEST, key=said).digest()
