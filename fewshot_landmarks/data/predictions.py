"""Predictions in a COCO results file, and the annotated object that each is of."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from scipy.optimize import linear_sum_assignment

from fewshot_landmarks.categories import Categories, Category
from fewshot_landmarks.data.annotations import Annotations
from fewshot_landmarks.data.values import aligned, folded, key_of, whole
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import read_regular


@dataclass(frozen=True, eq=False)
class Prediction:
    """One entry of a results file."""

    image: int
    category: int
    points: np.ndarray  # (N, 2) x, y in pixels of the photo
    scores: np.ndarray  # (N,)
    score: float
    box: np.ndarray  # (4,) x1, y1, x2, y2: what was searched, else what holds the points
    annotation: int | None


def read_predictions(path: Path, annotations: Annotations) -> tuple[list[Prediction], int]:
    """A results file's predictions of the annotations' categories, and how many are of others.

    Raises `UserError` for a file that cannot be read, for an entry that is no prediction or not of
    its category, and where no prediction is left.
    """
    try:
        entries = json.loads(read_regular(path))
    except OSError as error:
        raise UserError(f"cannot read predictions: {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # JSON that is broken, or bytes that are not UTF-8
        raise UserError(f"{path} is not JSON: it should be the file that predict wrote") from None
    if not isinstance(entries, list):
        raise UserError(f"{path} holds no list of predictions: it should be as predict wrote it")
    categories, photos = annotations.categories, _Photos.of(annotations)
    predictions, others = [], 0
    for number, entry in enumerate(entries):
        try:
            category = _category(entry, categories)
            if category is None:
                others += 1
                continue
            predictions.append(_prediction(entry, category, photos.find(entry)))
        except ValueError as reason:
            raise UserError(f"{path}, prediction {number}: {reason}") from None
    if not predictions:
        names = ", ".join(f"{c.id} {c.name}" for c in categories.values())
        raise UserError(f"{path} holds no prediction of {names}, which {annotations.source} is of")
    return predictions, others


def _category(entry: dict, categories: Categories) -> Category | None:
    """The category of an entry: by its name where it has one that is known, else by its id."""
    number, name, kinds = _whole(entry, "category_id"), entry.get("category"), categories.values()
    named = [kind for kind in kinds if kind.name == name]
    named = named or [kind for kind in kinds if folded(kind.name) == folded(name)]
    if len(named) > 1 and number not in {kind.id for kind in named}:
        raise ValueError(f"category_id {number} is none of those called {name!r}")
    return categories.get(number) if len(named) != 1 else named[0]


def _keypoints(entry: dict, category: Category) -> np.ndarray:
    """An entry's x, y, score (N, 3), in the category's order; what it does not have is 0, 0, 0.

    By their names where the entry has them (see `aligned`), else by their places. Where a score is
    0 nothing is read.
    """
    said, names = entry.get("keypoints"), entry.get("keypoint_names")
    if not isinstance(said, list) or len(said) % 3:
        raise ValueError(f"keypoints is not a list of x, y and score: {said!r:.60}")
    three = [[0, 0, 0] if each[2] == 0 else [*each] for each in zip(*[iter(said)] * 3)]
    keypoints = _numbers(sum(three, []), "keypoints").reshape(-1, 3)
    if isinstance(names, list) and len(keypoints) == len(names) and names:
        order = aligned(category.names, names)
        if max(order) < 0:
            raise ValueError(f"none of its landmarks is one of {category.name}'s by its name")
        return np.where(np.array(order)[:, None] < 0, 0, keypoints[order])
    if len(keypoints) != category.landmarks:
        raise ValueError(
            f"keypoints holds {len(said)} numbers, and {category.name} has "
            f"{category.landmarks} landmarks of 3 each"
        )
    return keypoints


def _prediction(entry: dict, category: Category, photo: int) -> Prediction:
    """An entry as it should be; raises `ValueError` that says what is wrong."""
    x, y, scores = _keypoints(entry, category).T
    points = np.stack([x, y], 1)
    box = np.concatenate([points.min(0), points.max(0)])
    if "bbox" in entry:
        box = _numbers(entry["bbox"], "bbox")
        if len(box) != 4:
            raise ValueError("bbox is not x, y, width and height")
        box = np.concatenate([box[:2], box[:2] + box[2:]])
    score = scores.mean()
    if "score" in entry:
        (score,) = _numbers([entry["score"]], "score")
    return Prediction(
        image=photo,
        category=category.id,
        points=points,
        scores=scores,
        score=float(score),
        box=box,
        annotation=_whole(entry, "annotation_id") if "annotation_id" in entry else None,
    )


def _whole(entry, key: str) -> int:
    if not isinstance(entry, dict):
        raise ValueError("not an object with image_id, category_id and keypoints")
    if (number := whole(entry.get(key))) is None:
        raise ValueError(f"{key} is {entry.get(key)!r:.40}, not a whole number")
    return number


def _numbers(values, what: str) -> np.ndarray:
    if not isinstance(values, list):
        raise ValueError(f"{what} is not a list of numbers: {values!r:.60}")
    for value in values:
        if type(value) not in (int, float) or not -1e18 < value < 1e18:  # NaN compares false
            raise ValueError(f"{what} has {value!r:.40}, which is no number")
    return np.array(values, np.float64)


UNMATCHED, IGNORED = -1, -2  # what `match` has for a prediction of no scored object
NOWHERE = -1  # the id of a photo that is not among the annotations'


@dataclass(frozen=True)
class _Photos:
    """The annotations' photos: their names by their ids, ids as they are written, and ids by names
    that only one has.
    """

    names: Mapping[int, str]
    written: Mapping[int | str, int]
    ids: Mapping[str, int]

    @classmethod
    def of(cls, annotations: Annotations) -> "_Photos":
        names = {photo.id: folded(photo.name) for photo in annotations.photos}
        counts = Counter(names.values())
        written = {p.id: p.id for p in annotations.photos}
        written |= {p.key: p.id for p in annotations.photos if p.key is not None}
        return cls(names, written, {name: k for k, name in names.items() if counts[name] == 1})

    def find(self, entry: dict) -> int:
        """The id of an entry's photo; `predict` numbers photos of a folder in its own way.

        The name counts: an id that is another photo's in the annotations is `NOWHERE`.
        """
        key, name = key_of(entry.get("image_id")), entry.get("file_name")
        if key is None:
            raise ValueError(f"image_id is {entry.get('image_id')!r:.40}, not an id")
        number = self.written.get(key, NOWHERE)
        if not isinstance(name, str):
            return number
        own = folded(PureWindowsPath(name).name)
        if self.names.get(number) == own:
            return number
        if own in self.ids:
            return self.ids[own]
        if own in self.names.values():
            raise ValueError(f"image_id {key} is none of the annotations' photos named {name}")
        return NOWHERE


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
    taken, free, members = set(), defaultdict(list), defaultdict(list)  # by photo and category
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
        members[place].append((IGNORED, np.array(one.box)))
    for place, rivals in free.items():
        for k, i in _overlapping(predictions, rivals, members.get(place, [])):
            found[k] = i
    return found


def _overlapping(predictions, rivals, objects) -> Iterator[tuple[int, int]]:
    """Pairs of a prediction and an object, such that boxes overlap most over all pairs."""
    if len(rivals) == len(objects) == 1 and objects[0][0] != IGNORED:
        yield rivals[0], objects[0][0]  # whatever the boxes
        return
    overlap = np.array([[_iou(predictions[k].box, box) for _, box in objects] for k in rivals])
    for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
        if overlap[row, column] > 0:
            yield rivals[row], objects[column][0]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(width, 0) * max(height, 0)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
    return float(both / union) if union > 0 else 0.0
