"""Predictions in a COCO results file, and the annotated object that each is of."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePath, PureWindowsPath
from urllib.parse import unquote

import numpy as np
from scipy.optimize import linear_sum_assignment

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.annotations import Annotations, Photo
from fewshot_landmarks.data.formats.values import (
    Bad,
    aligned,
    folded,
    is_number,
    key_of,
    numbers,
    pixels,
    whole,
)
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular

LARGEST = 1e18  # of a number in a results file


@dataclass(frozen=True, eq=False)
class Prediction:
    """One entry of a results file."""

    image: int
    category: int
    points: np.ndarray  # (N, 2) x, y in pixels of the photo
    scores: np.ndarray  # (N,)
    score: float
    position: np.ndarray  # (N, 2) mean place in the support's boxes, 0 to 1; NaN: not said
    box: np.ndarray  # (4,) x1, y1, x2, y2: what was searched, else what holds the points
    annotation: int | None
    radii: np.ndarray  # (N,) pixels, NaN where not said
    level: float  # the probability with which landmarks lie within them; NaN where not said

    @property
    def there(self) -> np.ndarray:
        """(N,) bool: which landmarks it has; others are 0, 0 with a score of 0."""
        return self.points.any(axis=1) | (self.scores != 0)


def entries_of(path: Path) -> list:
    """A results file's entries as they are; raises `UserError` where it holds no list."""
    try:
        entries = json.loads(read_regular(path))
    except OSError as error:
        raise UserError(f"cannot read predictions: {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # JSON that is broken, or bytes that are not UTF-8
        raise UserError(f"{path} is not JSON: give the file that predict wrote") from None
    if not isinstance(entries, list):
        raise UserError(f"{path} is no list of predictions: give the file that predict wrote")
    return entries


def read_predictions(path: Path, annotations: Annotations) -> tuple[list[Prediction], int]:
    """A results file's predictions of the annotations' categories, and how many are of others.

    Raises `UserError` for a file that cannot be read, for an entry that is no prediction or not of
    its category, and where no prediction is left.
    """
    entries = entries_of(path)
    categories, photos = annotations.categories, _Photos.of(annotations)
    names = {folded(kind.name) for kind in categories.values()}
    by_name = any(isinstance(e, dict) and folded(e.get("category") or "") in names for e in entries)
    predictions, others = [], 0
    for number, entry in enumerate(entries):
        try:
            category = _category(entry, categories, by_name)
            if category is None:
                others += 1
                continue
            predictions.append(_prediction(entry, category, photos.find(entry)))
        except Bad as reason:
            raise UserError(f"{path}, prediction {number}: {reason}") from None
    if not predictions:
        names = ", ".join(f"{c.id} {c.name}" for c in categories.values())
        raise UserError(f"{path} holds no prediction of {names}, which {annotations.source} is of")
    return predictions, others


def _category(entry: dict, categories: Categories, by_name: bool) -> Category | None:
    """The category of an entry: by its name where it has one that is known, else by its id.

    Where other entries' names are known (`by_name`), one that is not is another category's.
    """
    number = _whole(entry, "category_id")
    name = entry.get("category") or ""
    named = categories.called(name)
    if len(named) > 1 and number not in {kind.id for kind in named}:
        raise Bad(f"category_id {number} is none of those called {name!r}")
    if not named and name and by_name:
        return None
    return categories.get(number) if len(named) != 1 else named[0]


def _keypoints(entry: dict, category: Category) -> np.ndarray:
    """An entry's x, y, score, mean position and radius (N, 6), in the category's order; what it
    does not have is 0, 0, 0 with a mean position and a radius of NaN.

    By their names where the entry has them (see `aligned`), else by their places: among the
    category's landmarks, or among all keypoints of its file. Where a score is 0 the place need not
    be numbers.
    """
    said, names = entry.get("keypoints"), entry.get("keypoint_names")
    if not isinstance(said, list) or len(said) % 3:
        raise Bad(f"keypoints is not a list of x, y and score: {said!r:.60}")
    three = [each if each[2] != 0 or all(is_number(n, LARGEST) for n in each) else (0, 0, 0)
             for each in zip(*[iter(said)] * 3)]  # fmt: skip
    keypoints = _array([n for each in three for n in each], "keypoints").reshape(-1, 3)
    count = len(keypoints)
    keypoints = np.column_stack([
        keypoints, _said(entry, "mean_position", count, 2), _said(entry, "radii", count, 1)
    ])  # fmt: skip
    if len(keypoints) == len(category.columns) and not (category.landmark_names and names):
        keypoints, names = keypoints[np.array(category.columns)], None
    if isinstance(names, list) and len(keypoints) == len(names) and names:
        order = aligned(category.names, names)
        if max(order) < 0:
            raise Bad(f"none of its landmarks is one of {category.name}'s by its name")
        absent = 0, 0, 0, math.nan, math.nan, math.nan
        return np.where(np.array(order)[:, None] < 0, absent, keypoints[order])
    if len(keypoints) != category.landmarks:
        raise Bad(
            f"keypoints holds {len(said)} numbers, and {category.name} has "
            f"{category.landmarks} landmarks of 3 each"
        )
    return keypoints


def _said(entry: dict, key: str, landmarks: int, each: int) -> np.ndarray:
    """What an entry says of its landmarks, (N, each), NaN where it says nothing."""
    said = entry.get(key)
    if said is None:
        return np.full((landmarks, each), math.nan)
    if not isinstance(said, list) or len(said) != each * landmarks:
        what = "x and y" if each == 2 else "a number"
        raise Bad(f"{key} is not {what} of each of {landmarks} keypoints: {said!r:.60}")
    known = _array([0 if n is None else n for n in said], key)
    if key == "radii" and (known < 0).any():
        raise Bad(f"radii has {known.min():g}: no radius is less than 0")
    return np.where([n is None for n in said], math.nan, known).reshape(-1, each)


def _prediction(entry: dict, category: Category, photo: int) -> Prediction:
    """An entry as it should be; raises `Bad` that says what is wrong."""
    told = np.split(_keypoints(entry, category), (2, 3, 5), axis=1)
    points, scores, position, radii = told[0], told[1][:, 0], told[2], told[3][:, 0]
    level = math.nan
    if "radius_level" in entry:
        (level,) = _array([entry["radius_level"]], "radius_level")
        if not 0 < level < 1:
            raise Bad(f"radius_level is {level:g}, no probability between 0 and 1")
    made = Prediction(
        photo, category.id, points, scores, 0.0, position, np.zeros(4), None, radii, float(level)
    )
    held = made.points[made.there] if made.there.any() else made.points
    box = np.concatenate([held.min(0) - 0.5, held.max(0) + 0.5])  # of pixels, whose sides are 1
    if "bbox" in entry:
        box = _array(entry["bbox"], "bbox", count=4)
        box = np.concatenate([box[:2], box[:2] + box[2:]])
    score = scores.mean()
    if "score" in entry:
        (score,) = _array([entry["score"]], "score")
    annotation = _whole(entry, "annotation_id") if "annotation_id" in entry else None
    return replace(made, score=float(score), box=box, annotation=annotation)


def _whole(entry, key: str) -> int:
    if not isinstance(entry, dict):
        raise Bad("not an object with image_id, category_id and keypoints")
    if (number := whole(entry.get(key))) is None:
        raise Bad(f"{key} is {entry.get(key)!r:.40}, not a whole number")
    return number


def _array(values: object, what: str, count: int | None = None) -> np.ndarray:
    return np.array(numbers(values, what, LARGEST, count), np.float64)


UNMATCHED, IGNORED = -1, -2  # what `match` has for a prediction of no scored object
# For an id of a photo, and smaller than any: not among the annotations', or of another size there.
NOWHERE, RESIZED = -(10**18) - 1, -(10**18) - 2


@dataclass(frozen=True)
class _Photos:
    """The annotations' photos by their names, and their ids by ids as they are written."""

    named: Mapping[str, list[Photo]]
    written: Mapping[int | str, int]
    sizes: Mapping[int, tuple[int | None, int | None]]

    @classmethod
    def of(cls, annotations: Annotations) -> "_Photos":
        named, photos = defaultdict(list), annotations.photos
        for photo in photos:
            named[_form(photo.name)].append(photo)
        own = set(named)  # a file's name counts before one that annotations have for it
        for photo in photos:
            for name in {_form(name) for name in photo.stated} - own:
                named[name].append(photo)
        written: dict[int | str, int] = {p.id: p.id for p in photos}
        written |= {key: p.id for p in photos for key in p.keys}
        return cls(named, written, {p.id: (p.width, p.height) for p in photos})

    def find(self, entry: dict) -> int:
        """The id of an entry's photo; `RESIZED` where it is not in pixels of what was annotated."""
        number = self._find(entry)
        found = pixels(entry.get("width")), pixels(entry.get("height"))
        said = self.sizes.get(number, (None, None))
        return RESIZED if all(found) and all(said) and found != said else number

    def _find(self, entry: dict) -> int:
        """The id of an entry's photo; `predict` numbers photos of a folder in its own way.

        The name counts: an id that is another photo's in the annotations is `NOWHERE`.
        """
        key, name = key_of(entry.get("image_id")), entry.get("file_name")
        if key is None:
            raise Bad(f"image_id is {entry.get('image_id')!r:.40}, not an id")
        number = self.written.get(key, NOWHERE)
        if not isinstance(name, str):
            return number
        path = PureWindowsPath(name)
        those = self.named.get(_form(path.name), [])
        if len(those) > 1:  # those of the same folders
            alike = [_alike(path, photo.path) for photo in those]
            those = [photo for photo, same in zip(those, alike) if same == max(alike)]
        ids = [photo.id for photo in those]
        if len(ids) < 2 or number in ids:
            return number if number in ids else next(iter(ids), NOWHERE)
        raise Bad(f"image_id {key} is none of the annotations' photos named {name}")


def _form(name: str) -> str:
    return folded(unquote(name))


def _alike(a: PurePath, b: PurePath) -> int:
    """How many last parts of two paths are the same."""
    pairs = zip(a.parts[::-1], b.parts[::-1])
    return len(list(takewhile(lambda pair: _form(pair[0]) == _form(pair[1]), pairs)))


# ------------------------------------------------------------------------------ matching


def match(predictions: Sequence[Prediction], annotations: Annotations) -> np.ndarray:
    """For each prediction the position of its object in the index: (P,) int.

    `UNMATCHED` where there is none, `IGNORED` where what it finds is of a crowd or has no landmark
    labelled. No two predictions have one object. Raises `UserError` where two name the same.
    """
    index = annotations.index
    places = [
        (annotations.photos[photo].id, int(category))
        for photo, category in zip(index.photo, index.category, strict=True)
    ]
    by_id = {int(item): i for i, item in enumerate(index.item)}
    found = np.full(len(predictions), UNMATCHED)
    taken, free = set(), defaultdict(list)  # by photo and category
    members, ignored = defaultdict(list), defaultdict(list)
    for k, prediction in enumerate(predictions):
        place = prediction.image, prediction.category
        if prediction.annotation is None:
            free[place].append(k)
            continue
        i = by_id.get(prediction.annotation)
        if i in taken:
            raise UserError(
                f"annotation {prediction.annotation} has two predictions: give one file of one run"
            )
        if i is not None and places[i] == place:
            found[k] = i
            taken.add(i)
    for i, place in enumerate(places):
        if i not in taken:
            members[place].append((i, index.box[i]))
    for one in annotations.ignored:
        place = annotations.photos[one.photo].id, one.category
        ignored[place].append(np.array(one.box))
    for place, rivals in free.items():
        objects, spare = members[place], ignored[place]
        if len(rivals) == len(objects) == 1 and not spare:
            found[rivals[0]] = objects[0][0]  # whatever the boxes
            continue
        boxes = [box for _, box in objects]
        overlap, beside = (_overlaps(predictions, rivals, of) for of in (boxes, spare))
        found[np.array(rivals)[beside.max(1, initial=0) > 0]] = IGNORED
        # What an ignored object overlaps most is of that one; any number may be.
        overlap[overlap.max(1, initial=0) < beside.max(1, initial=0)] = 0
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[row, column] > 0:
                found[rivals[row]] = objects[column][0]
    return found


def _overlaps(predictions, rivals, boxes) -> np.ndarray:
    """How much each rival's box overlaps each of some boxes."""
    each = [[_iou(predictions[k].box, box) for box in boxes] for k in rivals]
    return np.array(each, float).reshape(len(rivals), len(boxes))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(width, 0) * max(height, 0)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
    return float(both / union) if union > 0 else 0.0
