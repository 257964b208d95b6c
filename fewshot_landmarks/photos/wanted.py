"""What `predict` searches: photos, boxes in them, or frames of a clip; read a few at a time.

What is searched is an object with `wanted`, all of it in order; `told`, by which a later call knows
that it is the same; `batches`, which reads; and `broken`, why reading ended early, or "".
"""

import argparse
import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.formats.annotations import Photo, read_annotations
from fewshot_landmarks.data.formats.places import BESIDE
from fewshot_landmarks.data.formats.values import aligned
from fewshot_landmarks.data.images import KEPT, Unreadable, find_photos, read_photo, together
from fewshot_landmarks.data.video import SUFFIXES, Clip, is_clip
from fewshot_landmarks.support.errors import UserError

FEW = 8  # of so many and more a bar shows how far they are
EXPECTED = 100_000  # frames at most for which there shall be a place before any is searched


@dataclass(frozen=True)
class Wanted:
    """What is to be searched: a photo, an object's box in it, or a frame of a clip."""

    path: Path
    image_id: int
    declared: tuple[int, int] | None = None
    box: tuple[float, ...] | None = None
    annotation_id: int | None = None
    category_id: int = 1
    names: tuple[str, ...] = ()  # of the category's landmarks, in whose order the result is
    order: tuple[int, ...] = ()  # of each the model's landmark, -1 where it has none
    edges: tuple[tuple[int, int], ...] = ()  # between these landmarks
    kind: str = ""  # what the category is called, where annotations say it
    name: str = ""  # of the photo, where its path has another
    picture: str = ""  # what the picture of it is called
    frame: int | None = None  # its number in a clip; `path` is then its photo's, or the clip's
    stamp: tuple[float, int] | None = None  # of a frame that was read

    @property
    def key(self) -> tuple[int, int | None]:
        return self.image_id, self.annotation_id


Batch = list[tuple[Wanted, np.ndarray | str]]
"""What is searched together, each with its pixels (H, W, 3), or why these cannot be read."""


class Photos:
    """Photos, or boxes in them."""

    broken = ""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self.wanted = _own_pictures(wanted)

    @property
    def told(self) -> list:
        """The photos as they are now are part of it."""
        return [[str(w.path), *astuple(w)[1:], *_state(w.path)] for w in self.wanted]

    def batches(self, done: Container[tuple], most: int) -> Iterator[Batch]:
        """At most so many with their photos; a photo is read once for all of its boxes that follow
        each other.

        A batch that is done in part comes as a whole: a network's last bits depend on what it sees
        together, and results shall not depend on where a run was stopped.
        """
        unit = "object" if any(each.box for each in self.wanted) else "photo"
        with _bar(len(self.wanted), unit) as bar:
            for part in together([each.path for each in self.wanted], most):
                batch = self.wanted[part]
                if not all(each.key in done for each in batch):
                    photos = {}
                    for each in batch:
                        if each.path not in photos:
                            photos[each.path] = _read(each)
                    yield (read := [(each, photos[each.path]) for each in batch])
                    photos.clear()  # or they are still there while the next are decoded
                    read.clear()
                bar.update(len(batch))


class Frames:
    """Every so many frames of a clip."""

    def __init__(self, clip: Clip, every: int, folder: Path | None) -> None:
        """folder: where frames are written as photos, which are then what was searched."""
        self._clip, self._every, self._folder, self.broken = clip, every, folder, ""
        self._expected = range(0, clip.frames, every)
        # As the header says; once all are read, those that were there.
        self.wanted = [self._wanted(number) for number in self._expected[:EXPECTED]]

    @property
    def told(self) -> list:
        path = self._clip.path
        return [str(path), *_state(path), self._every, str(self._folder)]

    def batches(self, done: Mapping[tuple, dict], most: int) -> Iterator[Batch]:
        """As `Photos.batches` has them. Lines of earlier calls have a frame's `stamp`, by which
        reading goes on where they ended."""
        clip, every = self._clip, self._every
        most = max(1, min(most, KEPT // (3 * clip.width * clip.height)))
        there = []
        while (each := self._wanted(len(there) * every)).key in done:
            there.append(each)
        del there[len(there) // most * most :]  # the batch that may be done in part
        after = ((len(there) - 1) * every, done[there[-1].key]["stamp"]) if there else None
        frames = iter(clip.read(every, after))
        with _bar(len(self._expected), "frame", len(there)) as bar:
            while batch := self._next(frames, most):
                there += [replace(each, stamp=None) for each, _ in batch]
                if not all(each.key in done for each, _ in batch):
                    yield batch
                bar.update(len(batch))
                batch.clear()
        self.wanted = there

    def _next(self, frames: Iterator, most: int) -> Batch:
        batch: Batch = []
        try:
            for number, pixels, stamp in islice(frames, most):
                batch.append((replace(self._wanted(number), stamp=stamp), pixels))
        except Unreadable as reason:
            self.broken = f"{self._clip.path}: {reason}"
        return batch

    def _wanted(self, number: int) -> Wanted:
        name = f"{_stem(self._clip.path)}-{number:06d}.jpg"
        path = self._folder / name if self._folder else self._clip.path
        return Wanted(path, number + 1, picture=name, frame=number)


def wanted_of(arguments: argparse.Namespace, names: Sequence[str]) -> Photos | Frames:
    """What is to be searched, for landmarks of these names. Raises `UserError` where there is
    nothing, or what is asked of a clip is asked of something else."""
    images, every, folder = arguments.images, arguments.every, arguments.frames
    if images is not None and is_clip(images):
        if arguments.boxes:
            raise UserError(
                f"--boxes are of photos, and {images} is a clip: leave them out, or give a folder of "
                "photos of its frames, which --frames DIR writes"
            )
        if folder is None and arguments.format != "results":
            raise UserError(
                f"--format {arguments.format} is of photos, and {images} is a clip: give --frames "
                "DIR too, where those of its frames that are searched are written as photos"
            )
        return Frames(Clip.open(images), every or 1, folder)
    for option, given in (("--every", every), ("--frames", folder)):
        if given is not None:
            what = arguments.boxes or images or "none"
            raise UserError(
                f"{option} is of a clip, and {what} is given: give --images CLIP, a file"
            )
    return Photos(_wanted(arguments, names))


def _wanted(arguments: argparse.Namespace, names: Sequence[str]) -> Iterator[Wanted]:
    """What is to be searched, in order, for landmarks of these names."""
    if arguments.boxes is None:
        if arguments.images is None:
            raise UserError("nothing to search: give --images DIR, or annotations with --boxes")
        for number, path in enumerate(_photos(arguments.images), 1):
            yield Wanted(path, number)
        return
    annotations = read_annotations(
        arguments.boxes, images=arguments.images, category=arguments.category
    )
    index = annotations.index
    for line in annotations.lines:
        print(line, file=sys.stderr)
    orders = {}
    for number in sorted(set(index.category.tolist())):
        kind = annotations.categories[number]
        orders[number] = kind.names, tuple(aligned(kind.names, names)), kind.edges
        if not set(range(len(names))) <= set(orders[number][1]):
            orders[number] = (), (), ()
            print(
                f"{kind.name} of {arguments.boxes} has not all landmarks of the model: results "
                "have the model's, in its own order",
                file=sys.stderr,
            )
    beside = arguments.boxes if arguments.boxes.is_dir() else arguments.boxes.parent
    folders = [arguments.images] if arguments.images else [*(beside / n for n in BESIDE), beside]
    for i, photo in enumerate(annotations.photos[number] for number in index.photo):
        yield Wanted(
            photo.path,
            photo.id,
            photo.declared,
            tuple(map(float, index.box[i])),
            int(index.item[i]),
            int(index.category[i]),
            *orders[int(index.category[i])],
            annotations.categories[int(index.category[i])].name,
            _name(photo, folders),
        )


def _photos(folder_or_file: Path) -> list[Path]:
    """`find_photos`; clips among them are said, and left out."""
    among = folder_or_file.iterdir() if folder_or_file.is_dir() else ()
    clips = sorted(each for each in among if each.suffix.lower() in SUFFIXES and each.is_file())
    try:
        photos = find_photos(folder_or_file)
    except UserError:
        if not clips:
            raise
        raise UserError(
            f"no photo in {folder_or_file} but clips, which are searched one at a time: give "
            f"--images {clips[0]}"
        ) from None
    if clips:
        some = "1 clip" if len(clips) == 1 else f"{len(clips)} clips"
        print(
            f"left out {some} in {folder_or_file}: clips are searched one at a time, as by --images "
            f"{clips[0]}",
            file=sys.stderr,
        )
    return photos


def _name(photo: Photo, folders: Sequence[Path]) -> str:
    """A photo's name from the first of the folders that it lies in, which tells it from others."""
    for folder in map(Path, map(os.path.normpath, folders)):
        if photo.path.is_relative_to(folder) and not photo.called:
            return photo.path.relative_to(folder).as_posix()
    return photo.name


def _own_pictures(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Each with a name for its picture: the photo's, and what tells it from others of that name."""
    named, taken = [], set()
    for each in wanted:
        item = "" if each.annotation_id is None else f"-{each.annotation_id}"
        name = f"{_stem(each.path)}{item}"
        while name.casefold() in taken:  # some file systems take A.jpg for a.jpg
            name += f"-{each.image_id}"
        taken.add(name.casefold())
        named.append(replace(each, picture=f"{name}.jpg"))
    return named


def _stem(path: Path) -> str:
    """A file's name without its ending; cut where not all of it and what is added fit in a name."""
    return path.stem if len(os.fsencode(path.stem)) <= 200 else path.stem[:50]


def _bar(total: int, unit: str, done: int = 0) -> tqdm:
    return tqdm(total=total, initial=done, desc="predicting", unit=unit, disable=total < FEW)


def _read(wanted: Wanted) -> np.ndarray | str:
    """Its photo, or why it cannot be read."""
    try:
        return read_photo(wanted.path, wanted.declared)
    except Unreadable as reason:
        return f"{wanted.path}: {reason}"


def _state(photo: Path) -> tuple[int, ...]:
    """Which version of a photo it is; nothing for one that is not there."""
    try:
        found = photo.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
