"""The index of one split of DeepFashion2: every garment fit for use, as arrays.

A split holds up to 192,000 annotation files. They are parsed and validated in one pass; what
the benchmark needs of them is kept in a single file beside the data (or in a folder of
choice), which is used again for as long as the split's files stay the same; after a change,
only the files that changed are parsed again.
"""

import hashlib
import json
import os
import re
import zipfile
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as brief

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.categories import Category, category
from fewshot_landmarks.data.formats.values import Bad, marks, numbers, whole
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, advice, is_whole, read_regular, written_whole

SPLITS = ("train", "validation")
AREAS = ("box", "mask")

_FORMAT = 3  # of the index file: raise it when the arrays or what is accepted change
_LIMIT = 16_384  # pixels: no photo is as wide or high, and a mask of that size still fits memory
_ITEM = re.compile(r"item([0-9]{1,6})")
_NUMBERED = re.compile(r"([0-9]{6})\.(json|jpg)")


@dataclass(frozen=True, eq=False)
class Index:
    """The M garments of a split, in the order of their photo's number, then their item's.

    Garment i has the landmarks `start[i]` to `start[i + 1]` (exclusive) of `points` and
    `visible`, in its category's order. Coordinates are in pixels of the stored photo.
    """

    photo: np.ndarray  # (M,) int32: number of the photo
    item: np.ndarray  # (M,) int32: number of the item within its annotation
    category: np.ndarray  # (M,) uint8: 1 to 13
    box: np.ndarray  # (M, 4) float32: x1, y1, x2, y2 as annotated, which may leave the photo
    area: np.ndarray  # (M,) float32: pixels squared, of the annotated box or of the mask
    image_bytes: np.ndarray  # (M,) int64: size of the photo's file
    start: np.ndarray  # (M + 1,) int64
    points: np.ndarray  # (L, 2) float32: x, y
    visible: np.ndarray  # (L,) uint8: 0 not labelled, 1 occluded, 2 visible
    skipped: tuple[str, ...]  # a line for each file or garment that is not fit for use
    unlabelled: int  # garments left out because none of their landmarks is labelled

    def __len__(self) -> int:
        return len(self.photo)

    def landmarks(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Garment i's points (N, 2) and their visibility (N,)."""
        rows = slice(self.start[i], self.start[i + 1])
        return self.points[rows], self.visible[rows]

    def select(self, keep: np.ndarray) -> "Index":
        """The garments where `keep` (M,) bool holds, in the same order."""
        lengths = np.diff(self.start)
        rows = np.repeat(keep, lengths)
        return Index(
            photo=self.photo[keep],
            item=self.item[keep],
            category=self.category[keep],
            box=self.box[keep],
            area=self.area[keep],
            image_bytes=self.image_bytes[keep],
            start=_starts(lengths[keep]),
            points=self.points[rows],
            visible=self.visible[rows],
            skipped=self.skipped,
            unlabelled=self.unlabelled,
        )

    def digest(self) -> str:
        """16 hex digits of the garments' content and the sizes of their photos' files.

        The same for equal data on any machine, wherever the files are and whenever they were
        written.
        """
        total = hashlib.sha256()
        for name in _ARRAYS:
            values = getattr(self, name)
            little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            total.update(f"{name} {little_endian.dtype.str} {values.shape}\n".encode())
            total.update(little_endian.reshape(-1).data)
        return total.hexdigest()[:16]


_ARRAYS = tuple(field.name for field in fields(Index) if field.type is np.ndarray)


def load_index(
    root: str | os.PathLike,
    split: str,
    *,
    area: str = "box",
    cache: str | os.PathLike | None = None,
    progress: bool = False,
) -> Index:
    """The index of `root/split`: from its file when the split is unchanged, else built anew.

    "Unchanged" means the same file names, sizes and times of modification in `image/` and
    `annos/`. The index file lies in the folder `cache`, which is made if need be; without
    `cache` it lies in `root`, or nowhere if that cannot be written to.

    With `area="mask"` a garment's area is that of its segmentation, the union of its rings
    as `cv2.fillPoly` draws them; with "box" it is the annotated box's width times height.

    Raises `UserError` if the folders are not there, hold no annotation or no garment fit for
    use, if an argument is none of the choices, or if `cache` cannot be written to.
    """
    _choose("split", split, SPLITS)
    _choose("area", area, AREAS)
    root = Path(root)
    listing = _Listing.of(root, split)
    signature = hashlib.sha256(f"{_FORMAT} {listing.signature}".encode()).hexdigest()

    path = _index_path(root, split, area, cache)
    stored = _read(path)
    if stored is None or stored.signature != signature:
        stored = _build(root, split, listing, area, signature, stored, progress)
        try:
            _write(path, stored)
        except OSError as error:
            if cache is not None:
                raise UserError(
                    f"cannot write the index of {root / split} to {path}: {advice(error)}"
                ) from None
    index = stored.index
    if not len(index):
        first = f", the first because of {index.skipped[0]}" if index.skipped else ""
        raise UserError(
            f"no garment fit for use in {root / split}: {len(index.skipped)} skipped{first}; "
            "is it DeepFashion2 in its own layout?"
        )
    return index


def _choose(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class _Listing:
    """What the folders `annos/` and `image/` of a split hold, without opening any file."""

    annotations: dict[int, tuple[int, int]]  # annotated photo's number, ascending -> size and time
    misnamed: tuple[str, ...]  # annotation files that belong to no photo by their name
    image_bytes: dict[int, int]  # photo's number -> size of its file
    signature: str

    @classmethod
    def of(cls, root: Path, split: str) -> "_Listing":
        for folder in (root, root / split, root / split / "annos", root / split / "image"):
            if not folder.is_dir():
                raise UserError(
                    f"no folder {folder}: --data DIR must hold train/ and validation/, "
                    "each with image/ (000001.jpg, ...) and annos/ (000001.json, ...)"
                )
        annos = _files(root / split / "annos", ".json")
        images = _files(root / split / "image", ".jpg")
        if not annos:
            raise UserError(
                f"no annotation in {root / split / 'annos'}: unpack the data set so that "
                "000001.json and its like lie right there"
            )
        numbers = {name: _NUMBERED.fullmatch(name) for name, _, _ in annos}
        return cls(
            annotations={
                int(numbers[name][1]): tuple(size_and_time)
                for name, *size_and_time in annos
                if numbers[name]
            },
            misnamed=tuple(name for name, match in numbers.items() if not match),
            image_bytes={
                int(match[1]): size
                for name, size, _ in images
                if (match := _NUMBERED.fullmatch(name))
            },
            signature=hashlib.sha256(repr((annos, images)).encode()).hexdigest(),
        )


def _files(folder: Path, suffix: str) -> list[tuple[str, int, int]]:
    """Name, size and time of modification of the files that end in `suffix`, by name."""
    try:
        with os.scandir(folder) as entries:
            # Copies made on a Mac come with a file ._000001.json beside each 000001.json.
            return sorted(
                (entry.name, *_size_and_time(entry))
                for entry in entries
                if entry.name.endswith(suffix) and not entry.name.startswith(".")
            )
    except OSError as error:
        raise UserError(
            f"cannot list {folder}: {error.strerror or error}; check its permissions"
        ) from None


def _size_and_time(entry: os.DirEntry) -> tuple[int, int]:
    try:
        stat = entry.stat()
    except OSError:  # a link to nowhere: as good as an empty file
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _index_path(root: Path, split: str, area: str, cache: str | os.PathLike | None) -> Path:
    if cache is None:
        return root / f"fewshot_landmarks-{split}-{area}.npz"
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
    return Path(cache) / f"index-{place}-{split}-{area}.npz"


@dataclass(frozen=True, eq=False)
class _Stored:
    """An index as it is kept: with what tells which of its files have changed since."""

    index: Index
    signature: str  # of the whole split
    files: np.ndarray  # (F, 4) int64: photo's number, annotation's size and time, photo's size
    notes: tuple[tuple[int, str], ...]  # number and line on what that photo's annotation lacks
    bare: np.ndarray  # (U,) int32: photo of each garment without a labelled landmark


def _read(path: Path) -> _Stored | None:
    """What is stored at `path`, or None where there is nothing of this format; see `is_whole`."""
    if not is_whole(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["format"]) != _FORMAT:
                return None
            return _Stored(
                Index(
                    **{name: stored[name] for name in _ARRAYS},
                    skipped=tuple(json.loads(str(stored["skipped"]))),
                    unlabelled=len(stored["bare"]),
                ),
                signature=str(stored["signature"]),
                files=stored["files"],
                notes=tuple((number, line) for number, line in json.loads(str(stored["notes"]))),
                bare=stored["bare"],
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write(path: Path, stored: _Stored) -> None:
    with written_whole(path, summed=True) as file:
        np.savez(
            file,
            **{name: getattr(stored.index, name) for name in _ARRAYS},
            skipped=np.array(json.dumps(stored.index.skipped)),
            format=np.array(_FORMAT),
            signature=np.array(stored.signature),
            files=stored.files,
            notes=np.array(json.dumps(stored.notes)),
            bare=stored.bare,
        )


@dataclass(frozen=True)
class _Item:
    """One garment of an annotation file, checked."""

    category: Category
    box: np.ndarray  # (4,)
    area: float
    points: np.ndarray  # (N, 2)
    visible: np.ndarray  # (N,)


class _Rows:
    """Garments one after another, as flat arrays."""

    def __init__(self) -> None:
        self.photo, self.item, self.category = array("i"), array("i"), array("B")
        self.box, self.area, self.image_bytes = array("f"), array("f"), array("q")
        self.points, self.visible, self.lengths = array("f"), array("B"), array("q")
        self.notes: list[tuple[int, str]] = []
        self.bare = array("i")

    def index(self, misnamed: Iterable[str]) -> Index:
        return Index(
            photo=np.array(self.photo, np.int32),
            item=np.array(self.item, np.int32),
            category=np.array(self.category, np.uint8),
            box=np.array(self.box, np.float32).reshape(-1, 4),
            area=np.array(self.area, np.float32),
            image_bytes=np.array(self.image_bytes, np.int64),
            start=_starts(np.array(self.lengths, np.int64)),
            points=np.array(self.points, np.float32).reshape(-1, 2),
            visible=np.array(self.visible, np.uint8),
            skipped=(*misnamed, *(line for _, line in self.notes)),
            unlabelled=len(self.bare),
        )


class _Unchanged:
    """What an earlier index knows of files that have not changed since."""

    def __init__(self, earlier: _Stored) -> None:
        self._index = earlier.index
        self._files = {int(row[0]): tuple(row[1:].tolist()) for row in earlier.files}
        numbers = np.arange(max(self._files, default=0) + 2)
        self._first = np.searchsorted(earlier.index.photo, numbers)
        self._notes = defaultdict(list)
        for number, line in earlier.notes:
            self._notes[number].append((number, line))
        self._bare = Counter(earlier.bare.tolist())

    def knows(self, number: int, file: tuple[int, ...]) -> bool:
        """Whether the photo's files are as they were."""
        return self._files.get(number) == file

    def add(self, rows: _Rows, number: int) -> None:
        """Add the photo's garments to the rows."""
        old, garments = self._index, slice(*self._first[number : number + 2])
        landmarks = slice(*old.start[[garments.start, garments.stop]])
        rows.photo.extend(old.photo[garments])
        rows.item.extend(old.item[garments])
        rows.category.extend(old.category[garments])
        rows.box.extend(old.box[garments].ravel())
        rows.area.extend(old.area[garments])
        rows.image_bytes.extend(old.image_bytes[garments])
        rows.points.extend(old.points[landmarks].ravel())
        rows.visible.extend(old.visible[landmarks])
        rows.lengths.extend(np.diff(old.start[garments.start : garments.stop + 1]))
        rows.notes += self._notes.get(number, [])
        rows.bare.extend([number] * self._bare[number])


def _build(
    root: Path,
    split: str,
    listing: _Listing,
    area: str,
    signature: str,
    earlier: _Stored | None,
    progress: bool,
) -> _Stored:
    """Parse and check every annotation file that an earlier index does not know as it is."""
    files = {
        number: (size, modified, listing.image_bytes.get(number, -1))
        for number, (size, modified) in listing.annotations.items()
    }
    rows, known = _Rows(), set()
    if earlier:
        unchanged = _Unchanged(earlier)
        known = {number for number, file in files.items() if unchanged.knows(number, file)}
    opened = [number for number, file in files.items() if number not in known and file[-1] > 0]
    contents = _read_ahead([_annotation(root, split, number) for number in opened])
    bar = tqdm(files.items(), desc=f"indexing {split}", unit="file", disable=not progress)
    for number, (*_, image_bytes) in bar:
        if number in known:
            unchanged.add(rows, number)
        elif image_bytes > 0:
            _add(rows, split, number, image_bytes, next(contents), area)
        else:
            photo = f"photo {split}/image/{number:06d}.jpg"
            lack = f"the {photo} is empty" if image_bytes == 0 else f"there is no {photo}"
            rows.notes.append((number, f"{split}/annos/{number:06d}.json: {lack}"))
    misnamed = [
        f"{split}/annos/{brief(name)}: its name is not six digits" for name in listing.misnamed
    ]
    return _Stored(
        rows.index(misnamed),
        signature,
        files=np.array([(number, *file) for number, file in files.items()], np.int64),
        notes=tuple(rows.notes),
        bare=np.array(rows.bare, np.int32),
    )


def _annotation(root: Path, split: str, number: int) -> Path:
    return root / split / "annos" / f"{number:06d}.json"


def _read_ahead(paths: Sequence[Path]) -> Iterator[bytes | OSError]:
    """The files' contents in order, or why one cannot be read.

    By some threads, a little ahead: a disk whose cache is cold answers several at a time.
    """
    batches = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    with ThreadPoolExecutor(8) as threads:
        waiting = deque(threads.submit(_contents, batch) for batch in batches[:16])
        for batch in [*batches[16:], *([None] * len(waiting))]:
            yield from waiting.popleft().result()
            if batch:
                waiting.append(threads.submit(_contents, batch))


def _contents(paths: Iterable[Path]) -> list[bytes | OSError]:
    return [_content(path) for path in paths]


def _content(path: Path) -> bytes | OSError:
    try:
        return read_regular(path, SMALL)
    except OSError as error:
        return error


def _add(
    rows: _Rows, split: str, number: int, image_bytes: int, content: bytes | OSError, area: str
) -> None:
    """Parse a photo's annotation and add its garments to the rows."""
    name = f"{split}/annos/{number:06d}.json"
    try:
        items = _items(content)
    except Bad as reason:
        rows.notes.append((number, f"{name}: {reason}"))
        return
    for order, key, value in items:
        try:
            garment = _parse(value, area)
        except Bad as reason:
            rows.notes.append((number, f"{name}: {key}: {reason}"))
            continue
        if not garment.visible.any():
            rows.bare.append(number)
            continue
        rows.photo.append(number)
        rows.item.append(order)
        rows.category.append(garment.category.id)
        rows.box.extend(garment.box)
        rows.area.append(garment.area)
        rows.image_bytes.append(image_bytes)
        rows.points.extend(garment.points.ravel())
        rows.visible.extend(garment.visible)
        rows.lengths.append(len(garment.points))


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _items(content: bytes | OSError) -> list[tuple[int, str, object]]:
    """Number, key and value of the items of an annotation file, by number."""
    if isinstance(content, OSError):
        raise Bad(f"cannot be read: {content.strerror or content}")
    try:
        annotation = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Bad(f"not JSON: {brief(str(error))}") from None
    if not isinstance(annotation, dict):
        raise Bad(f"not an object of items but {brief(annotation)}")
    items = sorted((int(match[1]), key) for key in annotation if (match := _ITEM.fullmatch(key)))
    if not items:
        raise Bad("has no item1")
    return [(order, key, annotation[key]) for order, key in items]


def _parse(item: object, area: str) -> _Item:
    """Check one item; raises `Bad` with the reason if it is not fit for use."""
    if not isinstance(item, dict):
        raise Bad(f"not an object but {brief(item)}")
    kind = _category(item)
    said = numbers(_get(item, "bounding_box"), "bounding_box", _LIMIT, count=4)
    box = np.array(said, np.float32)
    x1, y1, x2, y2 = box
    # The photo's far edges are not known here; a box beyond them shows when the photo is read.
    if not (x2 > max(x1, 0) and y2 > max(y1, 0)):
        raise Bad(f"bounding_box has no area: {box.tolist()}")
    places = marks(_get(item, "landmarks"), "landmarks", kind.landmarks, _LIMIT)
    points = np.array(places, np.float32).reshape(-1, 3)
    if odd := sorted(set(places[2::3]) - {0, 1, 2}):
        raise Bad(f"landmarks has the visibility {odd[0]}, which is not 0, 1 or 2")
    return _Item(
        category=kind,
        box=box,
        area=_mask_area(item) if area == "mask" else (x2 - x1) * (y2 - y1),
        points=points[:, :2],
        visible=points[:, 2].astype(np.uint8),
    )


def _get(item: dict, key: str) -> object:
    try:
        return item[key]
    except KeyError:
        raise Bad(f"has no {key}") from None


def _category(item: dict) -> Category:
    said, name = _get(item, "category_id"), _get(item, "category_name")
    if (number := whole(said)) is None:
        raise Bad(f"category_id is not a whole number: {brief(said)}")
    try:
        kind = category(number)
    except UserError:
        raise Bad(f"unknown category_id {brief(said)}") from None
    if kind.name != name:
        raise Bad(f"category_id {number} is {kind.name!r}, category_name is {brief(name)}")
    return kind


def _mask_area(item: dict) -> float:
    """Number of pixels in the union of the segmentation's rings, their outlines included."""
    rings = [_ring(values) for values in _list(_get(item, "segmentation"))]
    if not rings:
        raise Bad("segmentation has no ring")
    corners = np.concatenate(rings)
    origin = corners.min(axis=0)
    width, height = corners.max(axis=0) - origin + 1
    mask = np.zeros((height, width), np.uint8)
    for ring in rings:  # one by one: drawn together, their overlaps would cancel out
        cv2.fillPoly(mask, [ring - origin], 1)
    return float(np.count_nonzero(mask))


def _list(rings: object) -> list:
    if not isinstance(rings, list):
        raise Bad(f"segmentation is not a list of rings but {brief(rings)}")
    return rings


def _ring(values: object) -> np.ndarray:
    if not isinstance(values, list) or len(values) < 6 or len(values) % 2:
        raise Bad(f"segmentation has a ring that is not x, y of three or more: {brief(values)}")
    ring = numbers(values, "segmentation", _LIMIT)
    return np.rint(np.array(ring, np.float32)).astype(np.int32).reshape(-1, 2)
