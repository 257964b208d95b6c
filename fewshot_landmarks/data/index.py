"""The index of one split of DeepFashion2: every garment fit for use, as arrays.

A split holds up to 192,000 annotation files. They are parsed and validated in one pass; what
the benchmark needs of them is kept in a single file beside the data (or in a folder of
choice), which is used again for as long as the split's files stay the same.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as brief

import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.categories import Category, category
from fewshot_landmarks.data.formats.values import Bad, marks, numbers, whole
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, advice, is_whole, read_regular, written_whole

SPLITS = ("train", "validation")

_FORMAT = 4  # of the index file: raise it when the arrays or what is accepted change
_LIMIT = 16_384  # pixels: no photo is as wide or high
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
    area: np.ndarray  # (M,) float32: pixels squared, of the annotated box
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

    @classmethod
    def of(
        cls, rows: Sequence[tuple], skipped: Iterable[str], unlabelled: int, *, item, category
    ) -> "Index":
        """Of rows of photo, item, category, box, area, bytes of the photo, points and visibility,
        in order; `item` and `category` are the types of these numbers.
        """
        photo, items, kinds, box, area, image_bytes, points, visible = (
            zip(*rows) if rows else [()] * 8
        )
        return cls(
            photo=np.array(photo, np.int32),
            item=np.array(items, item),
            category=np.array(kinds, category),
            box=np.array(box, np.float32).reshape(-1, 4),
            area=np.array(area, np.float32),
            image_bytes=np.array(image_bytes, np.int64),
            start=np.cumsum([0, *map(len, visible)], dtype=np.int64),
            points=np.concatenate([np.empty((0, 2)), *points], dtype=np.float32),
            visible=np.concatenate([np.empty(0), *visible], dtype=np.uint8, casting="unsafe"),
            skipped=tuple(skipped),
            unlabelled=unlabelled,
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
    cache: str | os.PathLike | None = None,
    progress: bool = False,
) -> Index:
    """The index of `root/split`: from its file when the split is unchanged, else built anew.

    "Unchanged" means the same file names, sizes and times of modification in `image/` and
    `annos/`. The index file lies in the folder `cache`, which is made if need be; without
    `cache` it lies in `root`, or nowhere if that cannot be written to.

    Raises `UserError` if the folders are not there, hold no annotation or no garment fit for
    use, if the split is none of the two, or if `cache` cannot be written to.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    root = Path(root)
    listing = _Listing.of(root, split)
    signature = hashlib.sha256(f"{_FORMAT} {listing.signature}".encode()).hexdigest()

    path = _index_path(root, split, cache)
    index = _read(path, signature)
    if index is None:
        index = _build(root, split, listing, progress)
        try:
            _write(path, index, signature)
        except OSError as error:
            if cache is not None:
                raise UserError(
                    f"cannot write the index of {root / split} to {path}: {advice(error)}"
                ) from None
    if not len(index):
        first = f", the first because of {index.skipped[0]}" if index.skipped else ""
        raise UserError(
            f"no garment fit for use in {root / split}: {len(index.skipped)} skipped{first}; "
            "is it DeepFashion2 in its own layout?"
        )
    return index


@dataclass(frozen=True)
class _Listing:
    """What the folders `annos/` and `image/` of a split hold, without opening any file."""

    annotations: tuple[int, ...]  # numbers of the annotated photos, ascending
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
            annotations=tuple(int(match[1]) for match in numbers.values() if match),
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


def _index_path(root: Path, split: str, cache: str | os.PathLike | None) -> Path:
    if cache is None:
        return root / f"fewshot_landmarks-{split}.npz"
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
    return Path(cache) / f"index-{place}-{split}.npz"


def _read(path: Path, signature: str) -> Index | None:
    """The index at `path`, or None where there is none of these files; see `is_whole`."""
    if not is_whole(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["signature"]) != signature:
                return None
            return Index(
                **{name: stored[name] for name in _ARRAYS},
                skipped=tuple(json.loads(str(stored["skipped"]))),
                unlabelled=int(stored["unlabelled"]),
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write(path: Path, index: Index, signature: str) -> None:
    with written_whole(path, summed=True) as file:
        np.savez(
            file,
            **{name: getattr(index, name) for name in _ARRAYS},
            skipped=np.array(json.dumps(index.skipped)),
            unlabelled=np.array(index.unlabelled),
            signature=np.array(signature),
        )


def _build(root: Path, split: str, listing: _Listing, progress: bool) -> Index:
    """Parse and check every annotation file."""
    found, skipped, image_bytes = [], [], listing.image_bytes
    for name in listing.misnamed:
        skipped.append(f"{split}/annos/{brief(name)}: its name is not six digits")
    opened = [number for number in listing.annotations if image_bytes.get(number)]
    contents = _read_ahead([root / split / "annos" / f"{number:06d}.json" for number in opened])
    bar = tqdm(listing.annotations, desc=f"indexing {split}", unit="file", disable=not progress)
    for number in bar:
        name = f"{split}/annos/{number:06d}.json"
        if not image_bytes.get(number):
            photo = f"photo {split}/image/{number:06d}.jpg"
            lack = f"the {photo} is empty" if number in image_bytes else f"there is no {photo}"
            skipped.append(f"{name}: {lack}")
            continue
        try:
            items = _items(next(contents))
        except Bad as reason:
            skipped.append(f"{name}: {reason}")
            continue
        for order, key, item in items:
            try:
                kind, box, points, visible = _parse(item)
            except Bad as reason:
                skipped.append(f"{name}: {key}: {reason}")
                continue
            area = (box[2] - box[0]) * (box[3] - box[1])
            row = number, order, kind.id, box, area, image_bytes[number], points, visible
            found.append(row)
    rows = [row for row in found if row[-1].any()]
    return Index.of(rows, skipped, len(found) - len(rows), item=np.int32, category=np.uint8)


def _read_ahead(paths: Sequence[Path]) -> Iterator[bytes | OSError]:
    """The files' contents in order, or why one cannot be read.

    By some threads: a disk whose cache is cold answers several at a time.
    """
    with ThreadPoolExecutor(8) as threads:
        for start in range(0, len(paths), 1024):
            batches = [paths[start + i : start + i + 64] for i in range(0, 1024, 64)]
            for contents in threads.map(_contents, batches):
                yield from contents


def _contents(paths: Iterable[Path]) -> list[bytes | OSError]:
    return [_content(path) for path in paths]


def _content(path: Path) -> bytes | OSError:
    try:
        return read_regular(path, SMALL)
    except OSError as error:
        return error


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


def _parse(item: object) -> tuple[Category, np.ndarray, np.ndarray, np.ndarray]:
    """An item's category, box (4,), points (N, 2) and visibility (N,); raises `Bad` with the
    reason if it is not fit for use.
    """
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
    return kind, box, points[:, :2], points[:, 2].astype(np.uint8)


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
