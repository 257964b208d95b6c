"""A meta-trained learner as one file, and what it makes of a few annotated photos.

    model = load("MetaCloth")
    finder = model.adapt(images, landmarks, visible)
    found = finder.predict(more_images)

A learner's `adapt` is pure, so an adapted model *is* its learner and its support: a finder's file
holds both, and adapts again when it is opened. Files are safetensors, never pickles.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from os import PathLike
from os.path import isfile
from pathlib import Path
from reprlib import repr as brief
from typing import TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from fewshot_landmarks import __version__
from fewshot_landmarks.base import BaseModel
from fewshot_landmarks.data.crops import Garment, cut_out, garment
from fewshot_landmarks.data.images import Unreadable, read_photo, together
from fewshot_landmarks.learner import Detector, Learner, trusted_learner
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.photos import MODELS
from fewshot_landmarks.photos.confidence import NEAR_PEAK, SIGNS, Calibration, search
from fewshot_landmarks.photos.header import (
    CROPS,
    Header,
    Layout,
    Misfit,
    check_layout,
    check_support,
    layout_of,
    parsed,
    read_header,
    support_layout,
    text,
)
from fewshot_landmarks.samples import Samples, collate
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import plain
from fewshot_landmarks.training import save_tensors

FORMAT = 1  # of the files: raise it when older ones can no longer be read
HEADER = "fewshot_landmarks"  # the entry of a file's metadata that says what it is
MARGIN = 0.1  # of a crop around a box, as in training
SLACK = 0.05  # of a box around landmarks, where no box is given
AT_ONCE = 32  # crops

Image: TypeAlias = object
"""Whatever `read_photo` takes: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W)."""


@dataclass(frozen=True)
class Model:
    """A meta-trained learner: adapts to any category from a few annotated photos."""

    learner: Learner
    name: str  # the learner's, as `find_learner` takes it
    network: str  # of fenets.FENETS
    network_options: Mapping[str, object]
    size: int  # side of the crops, pixels
    calibration: Calibration | None  # turns signs of trust into probabilities
    about: Mapping[str, object]  # what it was trained on, for a reader

    @property
    def device(self) -> torch.device:
        return self.learner.base.omega.device

    def adapt(
        self,
        images: Sequence[Image],
        landmarks: np.ndarray,
        visible: np.ndarray | None = None,
        *,
        boxes: np.ndarray | None = None,
        names: Sequence[str] | None = None,
        category: str = "object",
    ) -> "Finder":
        """What finds the landmarks of K annotated photos in others.

        images: K photos; landmarks: (K, N, 2), x and y in pixels of each, where pixel i covers
        [i, i + 1); visible: (K, N), 0 or False where a landmark is not labelled (by default where
        its coordinates are NaN); boxes: (K, 4), x1, y1, x2, y2 around the object (by default
        around its landmarks); names: of the N landmarks; category: what the object is called.

        Raises `UserError` where shapes do not agree, a photo cannot be read or has no labelled
        landmark inside it, no landmark at all lies in its box, or the learner cannot learn so many.
        """
        images = _several(images)
        landmarks, visible = _annotation(len(images), landmarks, visible)
        names = range(1, landmarks.shape[1] + 1) if names is None else names
        names = tuple(map(str, names))
        if len(names) != landmarks.shape[1]:
            raise UserError(f"{len(names)} names for {landmarks.shape[1]} landmarks: give each one")
        boxes = [None] * len(images) if boxes is None else _boxes(boxes, len(images))
        shots = [
            self.shot(_photo(image, i), *annotated, f"support photo {i + 1}")
            for i, (image, *annotated) in enumerate(zip(images, landmarks, visible, boxes))
        ]
        return self.learn(shots, names, category)

    def shot(
        self,
        photo: np.ndarray,
        points: np.ndarray,
        seen: np.ndarray,
        box: np.ndarray | None,
        called: str,
    ) -> "Shot":
        """The crops of an object in a photo (H, W, 3): landmarks (N, 2), visible (N,), box (4,).

        Raises `UserError`, which calls the object as it is `called`, where no landmark is in the
        photo, or the box is not.
        """
        height, width = photo.shape[:2]
        seen = seen * ((points >= 0) & (points < (width, height))).all(-1)
        points = np.where(seen[:, None] > 0, points, 0)
        if not seen.any():
            raise UserError(f"{called} has no labelled landmark inside it")
        box = around(points[seen > 0], width, height) if box is None else box
        sides = box[2:] - box[:2]
        crops = []
        for frame, margin in ((box, MARGIN), ((0, 0, width, height), 0)):
            cut = cut_out(photo, np.asarray(frame), margin, self.size)
            if cut is None or not (sides > 0).all():
                raise UserError(f"the box of {called} is empty or outside it")
            area = float(sides.prod())
            crops.append(garment(*cut, points, seen, area=area, category=0, index=0))
        return Shot(*crops, np.where(seen[:, None] > 0, (points - box[:2]) / sides, np.nan))

    def learn(self, shots: Sequence["Shot"], names: Sequence[str], category: str) -> "Finder":
        """What finds the N named landmarks of K shots; see `adapt`."""
        self.learner.check(len(names))
        stride = FENETS[self.network].stride
        try:
            check_support(len(shots), len(names), (self.size // stride) ** 2)
        except Misfit as reason:
            raise UserError(f"{category}: {reason}") from None
        boxed, whole = (
            collate([getattr(shot, crops)._replace(index=i) for i, shot in enumerate(shots)])
            for crops in CROPS
        )
        if not boxed.labelled.any():
            raise UserError("no landmark of the support lies in its box: give x1, y1, x2, y2")
        shape = _mean(np.stack([shot.shape for shot in shots]))
        names = tuple(map(plain, names))
        return Finder(self, Support(plain(category), names, boxed, whole, shape))

    def save(self, path: str | PathLike) -> None:
        """Write the model, whole or not at all."""
        _save(Path(path), "learner", self, self.learner.state_dict(), {})


@dataclass(frozen=True, eq=False)
class Shot:
    """An annotated object, cropped: all that is kept of its photo."""

    boxed: Garment  # around the object
    whole: Garment  # all of the photo
    shape: np.ndarray  # (N, 2): places of the landmarks, 0 to 1 across the box; NaN if not labelled


@dataclass(frozen=True)
class Support:
    """Annotated photos of one category, cropped."""

    category: str
    names: tuple[str, ...]  # of the N landmarks
    boxed: Samples  # around the object
    whole: Samples  # all of the photo: for photos whose object is not boxed
    shape: np.ndarray  # (N, 2): mean place of each landmark, 0 to 1 across the object's box


@dataclass(frozen=True)
class Found:
    """Landmarks in B images. Those that no support photo labels are NaN, with a score of 0."""

    landmarks: np.ndarray  # (B, N, 2) float32: x, y in pixels of each image
    scores: np.ndarray  # (B, N) float32, 0 to 1: how probable it is that the landmark is there and
    # its error below a tenth of the object's size (calibrated where the model is)
    boxes: np.ndarray  # (B, 4) float32: x1, y1, x2, y2 that were searched


@dataclass(frozen=True)
class Finder:
    """A learner adapted to a category."""

    model: Model
    support: Support

    @property
    def names(self) -> tuple[str, ...]:
        """Of the N landmarks."""
        return self.support.names

    def predict(self, images: Sequence[Image], boxes: np.ndarray | None = None) -> Found:
        """The landmarks in B images: of any size each, see `Model.adapt`.

        boxes: (B, 4), x1, y1, x2, y2 around each object. Without them it is found first: landmarks
        in the whole photo tell where the box is.

        Raises `UserError` where an image cannot be read or a box lies outside it.
        """
        images = _several(images)
        boxes = None if boxes is None else _boxes(boxes, len(images))
        parts = [
            self._predict(
                [_photo(image, i) for i, image in enumerate(images[part], part.start)],
                None if boxes is None else boxes[part],
            )
            for part in together(images, self._at_once)
        ]
        n = len(self.names)
        empty = Found(*(np.zeros((0, *shape), np.float32) for shape in ((n, 2), (n,), (4,))))
        columns = [field.name for field in fields(Found)]
        return Found(*(np.concatenate([getattr(p, c) for p in [empty, *parts]]) for c in columns))

    @property
    def _at_once(self) -> int:
        """Crops that a network takes together: fewer where they or their heatmaps are large."""
        size, stride = self.model.size, FENETS[self.model.network].stride
        return max(
            1, min(AT_ONCE, 2**23 // size**2, 2**24 // len(self.names) // (size // stride) ** 2)
        )

    def _predict(self, photos: Sequence[np.ndarray], boxes: np.ndarray | None) -> Found:
        if boxes is None:
            sizes = [(photo.shape[1], photo.shape[0]) for photo in photos]
            frames = np.array([(0, 0, *size) for size in sizes], np.float32)
            looked = self._find(self._whole, self.support.whole, photos, frames, 0.0)
            boxes = np.array([_box_of(*found, self.support.shape, *size)
                              for *found, size in zip(*looked, sizes)], np.float32)  # fmt: skip
        return Found(*self._find(self._boxed, self.support.boxed, photos, boxes, MARGIN), boxes)

    def _find(
        self,
        detector: Detector,
        support: Samples,
        photos: Sequence[np.ndarray],
        boxes: np.ndarray,
        margin: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (B, N, 2) in pixels of the photos, and their scores (B, N)."""
        cuts = [cut_out(photo, box, margin, self.model.size) for photo, box in zip(photos, boxes)]
        for cut, box in zip(cuts, boxes):
            if cut is None:
                raise UserError(f"box {np.round(box).tolist()} lies outside its photo")
        nothing = np.zeros((len(self.names), 2), np.float32), np.zeros(len(self.names), np.uint8)
        crops = [garment(*cut, *nothing, area=1.0, category=0, index=0) for cut in cuts]
        query = collate(crops).to(self.model.device)
        with torch.no_grad():
            support = support.to(self.model.device)
            found, shown = search(detector, query.images, support)
            scores = trust(self.model.calibration, found, shown, support)
        places = query.to_original(found).masked_fill(scores.unsqueeze(-1) == 0, float("nan"))
        return places.cpu().numpy(), scores.cpu().numpy()

    @cached_property
    def _boxed(self) -> Detector:
        return adapted(self.model.learner, self.support.boxed.to(self.model.device))

    @cached_property
    def _whole(self) -> Detector:
        return adapted(self.model.learner, self.support.whole.to(self.model.device))

    def save(self, path: str | PathLike) -> None:
        """Write the learner and its support, whole or not at all."""
        support = self.support
        tensors = {"shape": torch.from_numpy(support.shape)}
        for crops in ("boxed", "whole"):
            samples = _as_bytes(getattr(support, crops))
            tensors |= {f"{crops}.{f.name}": getattr(samples, f.name) for f in fields(Samples)}
        tensors = {f"support.{name}": tensor for name, tensor in tensors.items()}
        said = {"category": support.category, "names": support.names}
        _save(Path(path), "finder", self.model, self.model.learner.state_dict() | tensors, said)


def adapted(learner: Learner, support: Samples) -> Detector:
    """The learner's detector; whatever it draws is the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with torch.no_grad():
            return learner.adapt(support)


def trust(
    calibration: Calibration | None, found: torch.Tensor, shown: torch.Tensor, support: Samples
) -> torch.Tensor:
    """Scores (B, N) of landmarks (B, N, 2) with their signs; see `Found`.

    A model without calibration has the share of its softmaxed heatmap around the peak, which says
    little. Where heatmaps hold infinities there is no score to tell, and so no landmark.
    """
    scores = calibration(shown) if calibration else shown[..., SIGNS.index(NEAR_PEAK)]
    known = support.labelled.any(0) & found.isfinite().all(-1) & scores.isfinite()
    return torch.where(known, scores, 0.0)


def around(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The box (4,) of points (P, 2) with some slack, cut off at the photo."""
    low, high = points.min(0), points.max(0)
    slack = max(SLACK * (high - low).max(), 1.0)
    x1, y1 = np.maximum(low - slack, 0)
    x2, y2 = np.minimum(high + slack, (width, height))
    return np.array([x1, y1, x2, y2], np.float32)


def _mean(shapes: np.ndarray) -> np.ndarray:
    """Mean over the photos (K, N, 2) that have a landmark: (N, 2), NaN where none has."""
    known = np.isfinite(shapes)
    counts = known.sum(0)
    total = np.where(known, shapes, 0.0).sum(0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)


def _box_of(
    found: np.ndarray, scores: np.ndarray, shape: np.ndarray, width: int, height: int
) -> tuple[float, float, float, float]:
    """The box whose landmarks would lie as those found (N, 2) do; the photo where that fails.

    Along each axis the median slope of the better half of the landmarks (Theil and Sen), which
    outliers do not move.
    """
    from scipy.stats import theilslopes  # long in coming, and needed here alone

    trusted = np.isfinite(found).all(-1) & np.isfinite(shape).all(-1)
    trusted &= scores >= np.median(scores[trusted]) if trusted.any() else False
    edges = []
    for axis, side in enumerate((width, height)):
        x, y = shape[trusted, axis], found[trusted, axis]
        if len(set(x.tolist())) < 2:
            return 0, 0, width, height
        length, start, *_ = theilslopes(y, x, method="joint")
        first, last = max(start, 0), min(start + length, side)
        if last - first < side / 20:
            return 0, 0, width, height
        edges.append((first, last))
    (x1, x2), (y1, y2) = edges
    return x1, y1, x2, y2


# ------------------------------------------------------------------------------ arguments


def _several(images: Sequence[Image]) -> Sequence[Image]:
    """The images, unless they are a single one, whose rows would be taken for images."""
    sized = hasattr(images, "__len__") and not isinstance(images, str)
    if not sized or getattr(images, "ndim", 4) in (2, 3):
        raise UserError("images must be a list of images: give [image] where it is one")
    return images


def _photo(image: Image, i: int) -> np.ndarray:
    try:
        return read_photo(image)
    except Unreadable as reason:
        name = image if isinstance(image, (str, PathLike)) else f"image {i + 1}"
        raise UserError(f"{name}: {reason}") from None


def _annotation(count: int, landmarks, visible) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (K, N, 2) float32 and their visibility (K, N) uint8, checked."""
    landmarks = _numbers(landmarks, "landmarks", "x, y (K, N, 2)")
    if count == 0 or landmarks.ndim != 3 or landmarks.shape[::2] != (count, 2):
        raise UserError(
            f"landmarks of shape {landmarks.shape} for {count} support photos: give (K, N, 2), x "
            "and y of N landmarks in each of K photos, at least one"
        )
    known = np.isfinite(landmarks).all(-1)
    visible = known if visible is None else _numbers(visible, "visible", "0, 1 or 2 (K, N)")
    if visible.shape != landmarks.shape[:2]:
        raise UserError(f"visible has shape {visible.shape}: give {landmarks.shape[:2]}")
    return landmarks, ((visible > 0) & known).astype(np.uint8)


def _numbers(values, what: str, wanted: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{what} must be numbers: {wanted}, as many in each photo") from None


def _boxes(boxes, count: int) -> np.ndarray:
    boxes = _numbers(boxes, "boxes", "x1, y1, x2, y2")
    if boxes.shape != (count, 4) or not np.isfinite(boxes).all():
        raise UserError(
            f"boxes of shape {boxes.shape} for {count} images: give x1, y1, x2, y2 each"
        )
    return boxes


# ---------------------------------------------------------------------------------- files


def _as_bytes(samples: Samples) -> Samples:
    return replace(samples, images=(samples.images * 255).round().to(torch.uint8))


def _save(
    path: Path, kind: str, model: Model, tensors: dict[str, torch.Tensor], said: dict
) -> None:
    base = model.learner.base
    header = {
        "format": FORMAT,
        "kind": kind,
        "version": __version__,
        "learner": model.name,
        "settings": asdict(model.learner.settings),
        "network": model.network,
        "network_options": {**model.network_options},
        "size": model.size,
        "base": {"seen": base.seen, "kind": base.kind, "most_landmarks": base.most_landmarks},
        "calibration": asdict(model.calibration) if model.calibration else None,
        "about": {**model.about},
        **said,
    }
    save_tensors(path, tensors, **{HEADER: json.dumps(header)})


def load(
    path: str | PathLike,
    device: str | torch.device = "cpu",
    learner: str | type[Learner] | None = None,
) -> Model | Finder:
    """The model or finder of a file; a learner's name alone ("MetaCloth") is this project's model.

    A file holds numbers and names, no code, and none is imported for it: its learner is one of
    this project's, or the one that `learner` names, as "module:Class" or by the class itself. What
    it says is checked before memory is taken for it.

    Raises `UserError` where the file is missing or broken, a pickle, of another kind or of a
    format that this version does not read, or of another learner.
    """
    path = Path(path)
    if not isfile(path) and isfile(MODELS / f"{path}.safetensors"):
        path = MODELS / f"{path}.safetensors"
    _refuse_others(path)
    try:
        with safe_open(str(path), "pt") as file:
            said = (file.metadata() or {}).get(HEADER)
            if not said:
                raise UserError(
                    f"{path} holds weights, but not of this project's models: give a file that "
                    "`python -m benchmarks.export` or `fewshot-landmarks adapt` wrote"
                )
            return _opened(path, parsed(said), file, device, learner)
    except Misfit as reason:
        raise UserError(
            f"{path} does not fit together ({reason}): export or adapt it again"
        ) from None
    except (SafetensorError, ValueError, OSError) as error:
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no model, or broken: {cause}") from None


def _refuse_others(path: Path) -> None:
    """Raise `UserError` for what is no file that can be read, and for pickles."""
    if not isfile(path):
        raise UserError(f"cannot read the model {path}: there is no such file")
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UserError(f"cannot read the model {path}: {error.strerror or error}") from None
    if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise UserError(
            f"{path} is a pickle, which could run any code when it is opened: refused; models of "
            "this project are .safetensors"
        )


def _opened(
    path: Path,
    said: dict,
    file,
    device: str | torch.device,
    asked: str | type[Learner] | None,
) -> Model | Finder:
    """What an open file holds; raises `Misfit`."""
    if said.get("format") != FORMAT or said.get("kind") not in ("learner", "finder"):
        raise UserError(
            f"{path} has format {brief(said.get('format'))} and kind {brief(said.get('kind'))}, "
            f"this version ({__version__}) reads format {FORMAT}: export or adapt it again"
        )
    source = text(said.get("learner"), "learner")
    try:
        found = trusted_learner(source, asked)
    except UserError as reason:
        raise UserError(f"{path}: {reason}") from None
    header = read_header(said, found)
    layout = {name: _layout(file.get_slice(name)) for name in file.keys()}
    learner = _learner(header, found, layout, file)
    support = None
    if said["kind"] == "finder":
        if len(header.names) > (learner.most_landmarks or len(header.names)):
            raise Misfit(f"{found.name} was trained for {learner.most_landmarks} landmarks at most")
        check_layout(_part(layout, "support."), support_layout(header, layout))
        support = _support(header, file)
    model = Model(
        learner.to(device),
        source,
        header.network,
        header.network_options,
        header.size,
        header.calibration,
        header.about,
    )
    return Finder(model, support) if support else model


def _layout(tensor) -> tuple[str, tuple[int, ...]]:
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _part(layout: Layout, *starts: str) -> Layout:
    return {name: known for name, known in layout.items() if name.startswith(starts)}


def _learner(header: Header, kind: type[Learner], layout: Layout, file) -> Learner:
    """The learner of a file, made once its base model's tensors are known to be in the file."""
    with torch.device("meta"):  # shapes alone, without memory
        base = _base(header)
    wanted = layout_of(base.state_dict(prefix="base."))
    check_layout(_part(layout, "base."), wanted)
    learner = kind(_base(header), kind.Settings(**header.settings))
    own = {name: known for name, known in layout.items() if not name.startswith("support.")}
    check_layout(own, layout_of(learner.state_dict()))
    learner.load_state_dict({name: _finite(name, file) for name in own})
    return learner.eval()


def _base(header: Header) -> BaseModel:
    fenet = FENETS[header.network](**header.network_options)
    return BaseModel(fenet, header.seen, header.base_kind, header.most_landmarks)


def _finite(name: str, file) -> torch.Tensor:
    tensor = file.get_tensor(name)
    if not tensor.isfinite().all():
        raise Misfit(f"tensor {name} holds values that are no numbers")
    return tensor


def _support(header: Header, file) -> Support:
    def samples(crops: str) -> Samples:
        found = Samples(*(_finite(f"support.{crops}.{f.name}", file) for f in fields(Samples)))
        inside = ((found.landmarks >= 0) & (found.landmarks < found.size)).all(-1)
        if not ((found.scale > 0).all() and (inside | ~found.labelled).all()):
            raise Misfit("labelled landmarks of its support are outside their crops")
        return replace(found, images=found.images / 255)

    shape = file.get_tensor("support.shape").numpy()  # NaN where no object labels a landmark
    return Support(header.category, header.names, *map(samples, CROPS), shape)
