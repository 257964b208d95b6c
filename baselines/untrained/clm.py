"""CLM: a constrained local model (Cristinacce and Cootes, BMVC 2006) of frozen features.

    h = a (RIDGE + NEAREST) + b log p(place in the box) + c log p(place in the fitted shape)

What each landmark looks like, where it lies in the box and where it lies to the others; a, b and c
are chosen by the support alone. Each photo, and pairs of photos, are left out in turn, and what the
others find in them with each choice is measured; choices count by exp(-error / temperature). Among
them is the mean position (a = 0). Nothing is trained, and nothing is tuned to a kind of thing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import torch

from baselines.untrained.cells import Cells, Components, centres, encode, standardised
from baselines.untrained.nearest import NEAREST, Exemplars
from baselines.untrained.place import Place
from baselines.untrained.ridge import RIDGE, regress, ridge
from baselines.untrained.shape import HIGHEST, Fitted, Shapes
from baselines.untrained.weak import ROUNDS, Taught, likeness, weak_cells, weak_labels
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import Learner, SamplesDetector
from fewshot_landmarks.samples import Samples

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # of the two densities, b and c
CHOICES = torch.tensor([(1.0, b, c) for b, c in product(WEIGHTS, WEIGHTS)] + [(0.0, 1.0, 0.0)])
FIXED = (1.0, 2.0, 1.0)  # with one photo there is none to leave out
FOLDS = 10  # of photos left out alone, and as many of pairs
SINGLY = 20  # photos whose radii are told
JUDGED = 32  # landmarks that choose, if there are more
ALIKE = 0.5  # mean cosine of the cells of two crops: if it is greater they are of one moment
WORST = 0.5  # an error that counts for no more
NEAR = -2.0  # log density: a landmark's place in the fitted shape, where its likeness is told
NOTHING = 0.4  # of the likeness of left-out photos: what has less is no object
LONE = 0.6  # of the likeness of a photo that was learnt from has one that was not


class CLM(Learner):
    """Looks, a place in the box and a place in the shape, weighed by leaving photos out."""

    name = "CLM"
    version = 2
    base_kind = "untrained"
    says_densities = True
    square = True

    @dataclass(frozen=True)
    class Settings(RIDGE.Settings, NEAREST.Settings):
        temperature: float = 0.02  # of choices, in units of the least error

    def adapt(self, support: Samples) -> "ConstrainedDetector":
        return self._adapted(support, *encode(support, self.base_features))

    def adapt_with(self, support: Samples, weak: Samples) -> "ConstrainedDetector":
        """A detector whose ridge regression learns from weak labels, too; see `teach`.

        What parts weigh, and the errors of photos left out, are those of the support alone.
        """
        components, cells = encode(support, self.base_features)
        detector = self._adapted(support, components, cells)
        more = weak_cells(weak, _each(detector.features, weak))
        detector.looks = ridge([*cells, *more], self.settings.ridge)
        return detector

    def teach(self, support: Samples, crops: Samples) -> Taught:
        """Weak labels of crops without labels (their `labelled` is not looked at), and whether
        they help.

        Labelled crops are left out in turn, in some folds. In each, those kept make weak labels,
        but not in crops of a moment that is left out, and what they find in the crops left out is
        measured with and without these labels: what is measured has had no part in what it is
        found by, but for the three numbers that parts weigh.
        """
        components, cells = encode(support, self.base_features)
        detector = self._adapted(support, components, cells)
        features = _each(detector.features, crops)
        like = likeness([each.features for each in cells], features) > ALIKE
        moments, errors = groups(cells), []
        for number in range(min(len(moments), ROUNDS) if len(moments) > 1 else 0):
            out = sum(moments[number::ROUNDS], [])
            kept = [k for k in range(len(cells)) if k not in out]
            known = [cells[k] for k in kept]
            without = self._of(support[kept], known, components)
            without.weights = detector.weights
            other = (~like[out].any(0)).nonzero()[:, 0].tolist()
            taught = without
            if other:
                unseen = [features[i] for i in other]
                more = weak_cells(weak_labels(without, crops[other], unseen), unseen)
                taught = replace(without, looks=ridge([*known, *more], self.settings.ridge))
            for k in out:
                trials = (Trial.of(each, cells[k], support[[k]]) for each in (without, taught))
                errors.append(torch.cat([each.errors(detector.weights[None]) for each in trials]))
        weak = weak_labels(detector, crops, features)
        both = torch.stack(errors) if errors else torch.zeros(0, 2, weak.labelled.shape[1])
        return Taught(weak[weak.labelled.any(1)], *both.clamp(max=WORST).unbind(1))

    def _adapted(
        self, support: Samples, components: Components, cells: Sequence[Cells]
    ) -> "ConstrainedDetector":
        """A detector of a support, with weights that it chooses."""
        detector, moments = self._of(support, cells, components), groups(cells)
        left_out = [(kept, k) for kept, out in folds(moments) for k in out]

        def trial_of(kept: Sequence[int], k: int) -> Trial:
            others = self._of(support[kept], [cells[i] for i in kept], components)
            return Trial.of(others, cells[k], support[[k]])

        trials = [trial_of(kept, k) for kept, k in left_out]
        if trials:
            some = slice(None, None, math.ceil(len(detector.looks) / JUDGED))
            errors = torch.stack([trial.errors(CHOICES, some) for trial in trials])
            mean = errors.clamp(max=WORST).nanmean((0, 2))
            if mean.isfinite().all():  # or no photo labels what another does
                scale = self.settings.temperature * mean.min().clamp(min=1e-4)
                softmax = torch.softmax((mean.min() - mean) / scale, 0)
                detector.weights = softmax @ CHOICES.to(mean)
            alone = trials[: sum(map(len, moments[:FOLDS]))]
            detector.left_out = torch.cat([t.errors(detector.weights[None]) for t in alone])
            detector.folds = left_out[: len(alone)]
            detector.seen = [
                trial.parts.seen(detector.weights, support.size, trial.likeness) for trial in alone
            ]
            known = {(*kept, k): trial for (kept, k), trial in zip(left_out, alone)}
            for k in range(0, len(cells), math.ceil(len(cells) / SINGLY)):
                kept = [i for i in range(len(cells)) if i != k]
                one = known.get((*kept, k)) or trial_of(kept, k)
                detector.singly.append((k, one.parts.combined(detector.weights)))
        likeness = [trial.likeness for trial in trials if trial.known.any()]
        if not likeness:
            likeness = [
                LONE * Trial.of(detector, each, support[[k]]).likeness
                for k, each in enumerate(cells)
            ]
        detector.likeness = float(torch.tensor(likeness).median())
        return detector

    def _of(
        self, support: Samples, cells: Sequence[Cells], components: Components
    ) -> "ConstrainedDetector":
        """A detector of some crops of the support, with fixed weights."""
        return ConstrainedDetector(
            features=lambda images: components(self.base_features(images)),
            looks=ridge(cells, self.settings.ridge),
            exemplars=Exemplars.of(cells, self.settings.shrinkage),
            place=Place.of(support),
            shapes=Shapes.of(support),
            weights=support.landmarks.new_tensor(FIXED),
        )


@dataclass(frozen=True)
class Seen:
    """An object as it was found in a crop."""

    landmarks: torch.Tensor  # (N, 2) crop pixels
    own: torch.Tensor  # (N,) bool: those that the object has whose shape was fitted
    likeness: float  # see `ConstrainedDetector.likeness_of`


@dataclass(eq=False)
class ConstrainedDetector(SamplesDetector):
    """What each landmark looks like and where it lies, and what each of these weighs."""

    features: Callable[[torch.Tensor], torch.Tensor]  # images to components of their features
    looks: torch.Tensor  # (N, D + 1) ridge regression
    exemplars: Exemplars
    place: Place
    shapes: Shapes | None
    weights: torch.Tensor  # (3,): a, b, c
    left_out: torch.Tensor | None = None  # (K, N) errors of photos left out, in units of the
    # object's size; NaN where that cannot be told
    # Of each of them: the photos kept, and the one left out.
    folds: Sequence[tuple[list[int], int]] = ()
    seen: Sequence[Seen] = ()  # what was found in each of them
    likeness: float = 0.0  # of a photo that was not learnt from: the median
    # Photos left out one by one, those of a moment too, and the log densities (1, N, h, w) in each.
    singly: list[tuple[int, torch.Tensor]] = field(default_factory=list)

    def of(self, query: Samples) -> torch.Tensor:
        features = self.features(query.images)
        return torch.cat([
            self.parts(features[i : i + 1], query[[i]]).combined(self.weights)
            for i in range(len(query))
        ])  # fmt: skip

    def search(self, query: Samples, objects: int = 1, ways: int = 1) -> list[list[Seen]]:
        """What is found in each crop: so many objects, none of them where another one's shape
        lies, and each of them in as many ways to put its shape, the best first."""
        features = self.features(query.images)
        return [
            self._search(features[i : i + 1], query[[i]], objects, ways) for i in range(len(query))
        ]

    def _search(self, features: torch.Tensor, one: Samples, objects: int, ways: int) -> list[Seen]:
        if not self.shapes:
            return []
        (look, response), found = self.look(features), []
        place, cells = self.place(one, look.shape[-2:]), centres(one.size, look.shape[-2:], look)
        free = look  # of other objects
        for _ in range(objects):
            put = self.shapes.fits(free[0], one, ways)
            if not put:
                break
            for fitted in put:
                prior = self.shapes.prior(fitted, one, look.shape[-2:]).unsqueeze(0)
                parts = Parts(free, place, prior, response, fitted)
                likeness = self.likeness_of(response, prior)
                found.append(parts.seen(self.weights, one.size, likeness))
            if found[-len(put)].likeness < NOTHING * self.likeness:
                break  # what is farther down is less like an object
            low, high = put[0].landmarks.amin(0), put[0].landmarks.amax(0)
            inside = ((cells >= low) & (cells <= high)).all(-1)
            free = free.masked_fill(inside.view(look.shape[-2:]), -HIGHEST)
        return found

    def parts(self, features: torch.Tensor, one: Samples) -> "Parts":
        """What is known of the places of the landmarks in one crop, from its features (1, D, h, w)."""
        look, response = self.look(features)
        fitted, prior = self.shape(look, one)
        return Parts(look, self.place(one, look.shape[-2:]), prior, response, fitted)

    def look(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, D, h, w) to RIDGE's and NEAREST's heatmaps (B, N, h, w), added: each made
        standard, and as they are."""
        responses = regress(features, self.looks), self.exemplars(features)
        return standardised(responses[0]) + standardised(responses[1]), responses[0] + responses[1]

    def shape(self, look: torch.Tensor, one: Samples) -> tuple[Fitted | None, torch.Tensor]:
        """The shape in one crop, None where none can be put, and its log density (1, N, h, w)."""
        fitted = self.shapes.fits(look[0], one) if self.shapes else []
        if not (self.shapes and fitted):
            return None, torch.zeros_like(look)
        return fitted[0], self.shapes.prior(fitted[0], one, look.shape[-2:]).unsqueeze(0)

    def likeness_of(self, response: torch.Tensor, prior: torch.Tensor) -> float:
        """How much a crop looks like the support where its shape is: mean of the landmarks' peaks."""
        near = response.masked_fill(prior < NEAR, -1.0)
        return float(near.flatten(2).amax(2)[0, self.exemplars.known].mean())


@dataclass(frozen=True)
class Parts:
    """Maps (1, N, h, w) of one crop, and the shape that was fitted in it."""

    look: torch.Tensor
    place: torch.Tensor
    shape: torch.Tensor
    response: torch.Tensor  # the look, not made standard
    fitted: Fitted | None

    def combined(self, weights: torch.Tensor, some: slice = slice(None)) -> torch.Tensor:
        """Their weighted sum, of some of the landmarks; weights (3,)."""
        look, place, shape = (each[:, some] for each in (self.look, self.place, self.shape))
        return weights[0] * look + weights[1] * place + weights[2] * shape

    def seen(self, weights: torch.Tensor, size: int, likeness: float) -> Seen:
        """What is found with these weights (3,) in a crop of this size."""
        landmarks = decode(self.combined(weights), size)[0]
        own = self.fitted.own if self.fitted else torch.ones_like(landmarks[:, 0], dtype=torch.bool)
        return Seen(landmarks, own, likeness)


@dataclass(frozen=True)
class Trial:
    """A photo left out: what the others know of it, and its landmarks."""

    parts: Parts
    photo: Samples
    known: torch.Tensor  # (N,) bool: labelled there, and in another
    likeness: float

    @classmethod
    def of(cls, detector: ConstrainedDetector, cells: Cells, photo: Samples) -> "Trial":
        parts = detector.parts(cells.features.unsqueeze(0), photo)
        known = photo.labelled[0] & detector.exemplars.known
        likeness = detector.likeness_of(parts.response, parts.shape) if parts.fitted else 0.0
        return cls(parts, photo, known, likeness)

    def errors(self, choices: torch.Tensor, some: slice = slice(None)) -> torch.Tensor:
        """Errors (choices, N) of some landmarks with each of some weights (choices, 3), in units of
        the object's size, the square root of its area."""
        maps = torch.cat([self.parts.combined(each, some) for each in choices.to(self.parts.look)])
        off = decode(maps, self.photo.size) - self.photo.landmarks[:, some]
        errors = (off * self.photo.scale).norm(dim=-1) / self.photo.area.sqrt()
        return errors.masked_fill(~self.known[some], float("nan"))


def _each(features: Callable, crops: Samples) -> list[torch.Tensor]:
    """Features (D, h, w) of each crop, one at a time."""
    return [features(crops.images[i : i + 1])[0] for i in range(len(crops))]


def groups(cells: Sequence[Cells]) -> list[list[int]]:
    """Numbers of the crops that are of one moment, as neighbouring frames of a film are.

    Left out alone, such a crop would be found by its like. All stand alone if they all are alike.
    """
    features = [each.features for each in cells]
    alike = likeness(features, features) > ALIKE
    reached = torch.linalg.matrix_power(alike.double(), len(cells)) > 0
    found = [row.nonzero()[:, 0].tolist() for row in reached.cpu().unique(dim=0).flip(0)]
    return found if len(found) > 1 else [[k] for k in range(len(cells))]


def folds(moments: Sequence[list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Crops kept and left out: each moment in turn, then pairs of them; at most FOLDS of each."""
    pairs = list(combinations(moments, 2)) if len(moments) > 2 else []
    draw = torch.Generator().manual_seed(0)
    chosen = sorted(torch.randperm(len(pairs), generator=draw)[:FOLDS].tolist())
    alone = [(moment,) for moment in moments[:FOLDS]] if len(moments) > 1 else []
    for left_out in (*alone, *(pairs[i] for i in chosen)):
        out = sum(left_out, [])
        yield [k for k in range(sum(map(len, moments))) if k not in out], out
