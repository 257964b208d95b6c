"""Crops stored once, at one size, in shards: tar files as WebDataset reads them.

    crops-FINGERPRINT-SIZE-MARGIN/000000.tar     00000000.jpg, 00000000.json, 00000001.jpg, ...
    pixels-FINGERPRINT-SIZE-MARGIN/000000.tar    00000000.rgb, 00000000.json, 00000001.rgb, ...

Plain tar files can be copied, streamed and opened by anything; and since a member lies in one
piece, one garment is read from them at random by its offset. 192,000 crops of 384 x 384 take some
12 GB as JPEGs, an eighth of what their pixels take. Each shard is written whole or not at all, so a
preparation that was stopped goes on with the first that is missing.
"""

import io
import json
import math
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import advice, is_whole, written_whole
from fewshot_landmarks.support.processes import Processes

if TYPE_CHECKING:
    from fewshot_landmarks.data.crops import Cutter

GARMENTS = 1000  # a shard
QUALITY = 95  # of the JPEGs, whose colours are not subsampled
PLACES = "places.npz"  # where each garment lies; made anew from the shards if it is lost


def write_shards(
    folder: Path, cutter: "Cutter", kind: str, workers: int, progress: bool, title: str
) -> None:
    """Write the shards that are missing, in processes; then where each garment lies.

    kind: "jpg", or "rgb" for pixels as they are.

    Raises `UserError` where the folder cannot be written or the disk is full; finished shards
    are kept.
    """
    starts = range(0, len(cutter), GARMENTS)
    missing = _missing(folder, len(cutter))
    try:
        with tqdm(total=len(starts), desc=title, unit="shard", disable=not progress) as bar:
            bar.update(len(starts) - len(missing))
            for _ in _in_processes(partial(_write_shard, folder, kind), missing, cutter, workers):
                bar.update()
        _write_places(folder, len(cutter))
    except OSError as error:
        raise UserError(
            f"cannot write crops to {folder}: {advice(error)}; finished shards are kept"
        ) from None


def _in_processes(
    work: Callable[[int], None], starts: Sequence[int], cutter: "Cutter", workers: int
) -> Iterator[None]:
    """Do the work in any order; what has not begun is given up at the first that fails."""
    if not starts:
        return
    if workers == 1:
        _start(cutter)
        yield from map(work, starts)
        _cutter.clear()
        return
    with Processes(min(workers, len(starts)), _start, cutter, main=True) as processes:
        for done in as_completed([processes.submit(work, start) for start in starts]):
            yield done.result()


def _path(folder: Path, start: int) -> Path:
    return folder / f"{start // GARMENTS:06d}.tar"


_cutter: "list[Cutter]" = []  # of this process


def _start(cutter: "Cutter") -> None:
    _cutter[:] = [cutter]


def _write_shard(folder: Path, kind: str, start: int) -> None:
    (cutter,) = _cutter
    with (
        written_whole(_path(folder, start), summed=True) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        for i in range(start, min(start + GARMENTS, len(cutter))):
            cut, about = cutter.cut(i), cutter.describe(i)
            if isinstance(cut, str):
                about["damaged"] = cut
            else:
                window, crop = cut
                about["window"] = [int(edge) for edge in window]
                _add(tar, f"{i:08d}.{kind}", _encode(crop) if kind == "jpg" else crop.tobytes())
            _add(tar, f"{i:08d}.json", json.dumps(about).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without time or owner: the same bytes each time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _encode(crop: np.ndarray) -> bytes:
    options = [
        cv2.IMWRITE_JPEG_QUALITY, QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)
    return encoded.tobytes()


def _write_places(folder: Path, garments: int) -> None:
    places = np.zeros((garments, 3), np.int64)  # shard, offset, bytes; no bytes if damaged
    windows = np.zeros((garments, 4), np.int32)
    skipped = []
    for start in range(0, garments, GARMENTS):
        for i, name, offset, content in _members(_path(folder, start)):
            if name != "json":
                places[i] = start // GARMENTS, offset, len(content)
            else:
                about = json.loads(content)
                windows[i] = about.get("window", 0)
                skipped += [about["damaged"]] if "damaged" in about else []
    with written_whole(folder / PLACES, summed=True) as file:
        np.savez(
            file,
            places=places,
            windows=windows,
            skipped=np.array(list(dict.fromkeys(skipped)), str),
        )


def _members(path: Path) -> Iterator[tuple[int, str, int, bytes]]:
    """Garment, kind, offset and content of each member of a shard."""
    with tarfile.open(path) as tar:
        for member in tar:
            number, _, kind = member.name.partition(".")
            content: Any = tar.extractfile(member)  # a file, as all members are
            yield int(number), kind, member.offset_data, content.read()


class Shards:
    """Stored crops, read at random. Opened anew, not copied, in another process."""

    windows: np.ndarray  # (M, 4) int32: x1, y1, x2, y2 in the photo; zeros if damaged
    skipped: list[str]

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._files: dict[int, int] = {}  # of shards, opened when first read
        self._opening = threading.Lock()
        with np.load(folder / PLACES, allow_pickle=False) as stored:
            self._places, self.windows = stored["places"], stored["windows"]
            self.skipped = stored["skipped"].tolist()

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Garment i's window and its crop (S, S, 3) uint8, RGB."""
        shard, offset, size = (int(number) for number in self._places[i])
        with self._opening:
            if shard not in self._files:
                self._files[shard] = os.open(_path(self._folder, shard * GARMENTS), os.O_RDONLY)
        content = np.frombuffer(os.pread(self._files[shard], size, offset), np.uint8)
        if self._kind == "jpg":
            return self.windows[i], cv2.cvtColor(cv2.imdecode(content, 1), cv2.COLOR_BGR2RGB)
        side = math.isqrt(size // 3)
        return self.windows[i], content.reshape(side, side, 3)

    def __reduce__(self):
        return Shards, (self._folder, self._kind)

    def __del__(self):
        for file in self._files.values():
            os.close(file)


def open_shards(folder: Path, garments: int, kind: str) -> Shards | None:
    """The stored crops, or None where they are not there in full; see `is_whole`."""
    placed = is_whole(folder / PLACES)
    if _missing(folder, garments) or not placed:
        return None
    try:
        shards = Shards(folder, kind)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return shards if len(shards.windows) == garments else None


def _missing(folder: Path, garments: int) -> list[int]:
    """The first garments of the shards that are not there or damaged; all are read, in threads."""
    starts = range(0, garments, GARMENTS)
    with ThreadPoolExecutor() as threads:
        there = threads.map(is_whole, [_path(folder, start) for start in starts])
        return [start for start, is_there in zip(starts, there) if not is_there]
