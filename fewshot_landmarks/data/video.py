"""Frames of clips, by their numbers: the first that can be decoded is 0, the next 1, and so on.

Frames are turned upright, as phones ask. Numbers are those of decoding from the start: where a
container's index leads is believed only if the same frame is there.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fewshot_landmarks.data.images import MOST_PIXELS, Unreadable
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import open_regular

# Or FFmpeg writes to the terminal what it thinks of each damaged frame; it asks once a process.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .wmv .flv".split()
)
KINDS = "MP4, MOV, AVI, MKV, WebM, MPEG, WMV or FLV"
SLACK = 0.02  # of a clip's length, which headers tell roughly

# What these begin with: FFmpeg reads much else, playlists that lead to other files among it.
_STARTS = b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\x01"
_ATOMS = b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"  # behind a length
_STILL = frozenset(b"heic heix heim heis hevc hevx mif1 msf1 avif avis".split())  # photos
_PACKET = 188  # bytes of a packet of MPEG's streams, or 192, which begin with a G


class Frame(NamedTuple):
    """A frame that was read."""

    number: int
    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright
    stamp: tuple[float, int]  # its time in milliseconds, and a sum of its pixels


def is_clip(path: Path) -> bool:
    """Whether a file is a clip, by its content or, where that says nothing, its name."""
    try:
        return path.suffix.lower() in SUFFIXES or _told(path)
    except OSError:
        return False


@dataclass(frozen=True)
class Clip:
    """A clip of which the first frame, at least, can be read."""

    path: Path
    frames: int  # 1 or more, as its header says: roughly, where the container has no index
    width: int  # upright, pixels
    height: int
    seconds: float  # as its header says

    @classmethod
    def open(cls, path: Path) -> "Clip":
        """The clip of a file. Raises `UserError` where it is none, or no frame can be read."""
        try:
            capture = _opened(path) if _told(path) else None
        except OSError as error:
            raise UserError(f"cannot open {path}: {error.strerror or error}") from None
        if capture is None or not capture.grab():
            raise UserError(
                f"{path}: no frame can be read: it is cut short or damaged, or not a clip of the "
                f"kinds {KINDS}; copy it again, or export it as MP4"
            )
        width, height, frames, rate = (
            capture.get(each)
            for each in (
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FPS,
            )
        )
        if width * height > MOST_PIXELS:
            raise UserError(f"{path}: frames of {width:.0f} x {height:.0f} pixels: save it smaller")
        frames = int(min(max(frames, 1), 2**31))
        return cls(path, frames, int(width), int(height), frames / rate if rate > 0 else 0.0)

    def read(
        self, every: int = 1, after: tuple[int, tuple[float, int]] | None = None
    ) -> Iterator[Frame]:
        """Each frame whose number `every` divides, one at a time, to the end of what can be read.

        after: the number and stamp of a frame that was read before; those behind it follow.

        Raises `Unreadable` at the end, where the clip is shorter than its header says.
        """
        capture, number = self._reached(after)
        start, time = (after[0] + 1 if after else 0), 0.0
        while capture.grab():
            time = max(time, capture.get(cv2.CAP_PROP_POS_MSEC))
            if number >= start and number % every == 0:
                good, pixels = capture.retrieve()
                if not good:
                    break
                colours = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                yield Frame(number, colours, _stamp(capture, pixels))
            number += 1
        slack = max(2, SLACK * self.frames)
        if number < self.frames - slack and time / 1000 < self.seconds * (1 - slack / self.frames):
            raise Unreadable(
                f"breaks off after frame {number - 1} of some {self.frames}; what was read is "
                "searched. Copy it again, or export it anew"
            )

    def _reached(self, after: tuple[int, tuple[float, int]] | None) -> tuple[cv2.VideoCapture, int]:
        """The open clip, and the number of the frame that comes next."""
        capture = _opened(self.path)
        if after is None:
            return capture, 0
        # OpenCV reckons where a frame is by its time. It may hit another one where frames are not
        # evenly spaced, or the container has no index.
        capture.set(cv2.CAP_PROP_POS_FRAMES, after[0])
        good, pixels = capture.read()
        if good and _stamp(capture, pixels) == tuple(after[1]):
            return capture, after[0] + 1
        return _opened(self.path), 0


def _stamp(capture: cv2.VideoCapture, pixels: np.ndarray) -> tuple[float, int]:
    return capture.get(cv2.CAP_PROP_POS_MSEC), zlib.crc32(pixels.tobytes())


def _told(path: Path) -> bool:
    """Whether a file begins as a clip does. Raises `OSError`."""
    with open_regular(path) as file:
        start = file.read(3 * 192)
    if start[4:8] == b"ftyp" and start[8:12] in _STILL:
        return False
    packets = any(
        len(start) > first + size and start[first] == start[first + size] == ord("G")
        for first, size in ((0, _PACKET), (4, 192))
    )
    riff = start[:4] == b"RIFF" and start[8:12] == b"AVI "
    return riff or packets or start.startswith(_STARTS) or start[4:8] in _ATOMS


def _opened(path: Path) -> cv2.VideoCapture:
    """Not opened, where FFmpeg does not read it."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # Whole, or FFmpeg might take the name for an address.
        return cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(before)
