"""Where landmarks lie to each other: the support's shapes, fitted to the peaks of heatmaps.

For the shape of each support object, similarity transforms that take two of its landmarks to peaks
of theirs are tried (Fischler and Bolles, "Random sample consensus", 1981) and scored by how high
each landmark's heatmap is near where the transform puts it, less the squared distance in units of
how far such landmarks move. The best are refined by reweighted least squares (as constrained local
models are: Saragih, Lucey and Cohn, IJCV 2011), and the best of these tells a place for every
landmark: Student's t around it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from baselines.untrained.cells import centres
from baselines.untrained.place import OBJECTS, shrunk, student
from fewshot_landmarks.samples import Samples

PEAKS = 3  # of each heatmap
PAIRS = 1500  # of landmarks that are tried, of all shapes
FIRST = 60  # best transforms of a shape, of which are tried further
TRIED = 3  # the best, and as many unlike each other
REFINED = 16  # best of all
STEPS = 3
DISTINCT = 2.0  # deviations: a landmark of another way to put a shape
HIGHEST = 8.0  # deviations: no single peak counts for more
APART = 0.04  # of the crop's side, of two landmarks that tell a transform
ALONE = 0.1  # of the crop's side: how far landmarks move where one object is all that is known
LEAST = 0.03
FREE_TURN, FREE_SCALE = 0.5, 1.3  # radians, ratio: beyond those that the support shows
LONE_TURN, LONE_SCALE = 0.8, 1.7  # where it shows none


@dataclass(frozen=True)
class Fitted:
    """A shape as it was found in a crop."""

    landmarks: torch.Tensor  # (N, 2) crop pixels
    known: torch.Tensor  # (N,) bool: those that a shape of the support places
    own: torch.Tensor  # (N,) bool: those that the shape itself has, the others are of other shapes
    score: float  # mean over landmarks, deviations of heatmaps above what chance has
    turn: float  # radians
    scale: float


@dataclass(frozen=True)
class Shapes:
    """The shapes of a support, as complex numbers in pixels of crops made isotropic."""

    points: torch.Tensor  # (K, N) complex
    known: torch.Tensor  # (K, N) bool
    deviation: torch.Tensor  # (N,) pixels: of a landmark about a fitted shape
    pairs: tuple[torch.Tensor, ...]  # for each shape (P, 2): landmarks that tell a transform
    turn: float  # the largest that is tried, radians
    scale: float  # the largest, and the inverse of the smallest
    freedom: float

    @classmethod
    def of(cls, support: Samples) -> "Shapes | None":
        """Of the support's objects; None where none has two landmarks apart from each other."""
        points = torch.view_as_complex((support.landmarks * stretch(support)).contiguous())
        known, size = support.labelled, support.size
        # Every two that share landmarks are aligned, each with the other.
        first, second = (~torch.eye(len(points), dtype=torch.bool, device=known.device)).nonzero(
            as_tuple=True
        )
        told = (known[first] & known[second]).sum(1) >= 2
        first, second = first[told], second[told]
        both, to = known[first] & known[second], points[second]
        shared = both.sum(1, keepdim=True)

        def aligned(from_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Squared distances (P, N), a coordinate, that similarities leave, and their factors."""
            factor, shift = _similarity(from_, to, both.to(points.real))
            return (factor * from_ + shift - to).abs().square() / 2 * both, factor

        (off, factor), (other, _) = aligned(points[first]), aligned(points[first].conj())
        mirrored = ((shared[:, 0] > 3) & (other.sum(1) < off.sum(1) / 4)).any()
        # Four of the 2 P coordinates are fitted.
        squares = (off * (shared / (shared - 2).clamp(min=1))).sum(0)
        shown = both.sum(0)
        count = known.sum(0).to(squares)
        free = (count - 1).clamp(min=0)
        variance = shrunk(squares / shown.clamp(min=1) * free, count, (ALONE * size) ** 2)
        if mirrored:
            points, known = torch.cat([points, -points.conj() + size]), known.repeat(2, 1)
        turn, scale = LONE_TURN, LONE_SCALE
        if len(factor):
            turn = min(math.pi, 2 * float(factor.angle().abs().max()) + FREE_TURN)
            ratio = factor.abs().clamp(min=1e-3).log().abs().max().exp()
            scale = FREE_SCALE * float(ratio)
        draw = torch.Generator().manual_seed(0)
        each = max(10, PAIRS // len(points))
        pairs = tuple(_pairs(*one, APART * size, each, draw) for one in zip(points, known))
        if not any(map(len, pairs)):
            return None
        return cls(
            points=points,
            known=known,
            deviation=(variance + (LEAST * size) ** 2).sqrt(),
            pairs=pairs,
            turn=turn,
            scale=scale,
            freedom=OBJECTS + len(support) - 1,
        )

    def fits(self, heatmaps: torch.Tensor, query: Samples, most: int = 1) -> list[Fitted]:
        """The shape in one crop, of standardised heatmaps (N, h, w), and other ways to put it, the
        best first; none where none can be put."""
        stretched, size = stretch(query)[0, 0], query.size
        grid = centres(size, heatmaps.shape[-2:], heatmaps) * stretched
        peaks = _peaks(heatmaps, grid)
        # Of every two by two cells the highest: a quarter of the work, at hardly any loss.
        pooled = F.max_pool2d(heatmaps.clamp(max=HIGHEST), 2, ceil_mode=True, return_indices=True)
        high, cells = pooled[0].flatten(1), grid[pooled[1].flatten(1)]  # (N, M), (N, M, 2)
        field = self._field(pooled[0], stretched, size)
        chance = field.flatten(1).mean(1)  # what a landmark has wherever the shape is put
        tried = [
            one
            for k in range(len(self.points))
            for one in self._transforms(k, peaks, field, chance, stretched, size)
        ]
        if not tried:
            return []
        tried = sorted(tried, key=lambda one: -one[0])[:REFINED]
        which = torch.tensor([k for _, k, _, _ in tried])
        factor = torch.stack([one for *_, one, _ in tried]).unsqueeze(1)
        shift = torch.stack([one for *_, one in tried]).unsqueeze(1)
        points, known = self.points[which], self.known[which]
        for step in range(STEPS + 1):
            put = factor * points + shift  # (R, N)
            across, down = cells[..., 0] - put.real[..., None], cells[..., 1] - put.imag[..., None]
            squares = across.square() + down.square()
            best, where = (high + student(squares, self.deviation, self.freedom)).max(-1, True)
            if step < STEPS:
                height = high.expand_as(squares).gather(-1, where)[..., 0]
                off = squares.gather(-1, where)[..., 0] / self.deviation**2
                weight = known * height.clamp(min=0.2) / (self.deviation**2 * (1 + off / 4))
                peak = cells.expand(*where.shape[:2], -1, 2).gather(
                    2, where[..., None].expand(-1, -1, -1, 2)
                )
                factor, shift = _similarity(points, torch.view_as_complex(peak[:, :, 0]), weight)
        scores = ((best[..., 0].clamp(min=0) - chance) * known).mean(1)
        order = scores.argsort(descending=True)
        found = []
        for i in order[self._distinct(put[order], known[order])][:most].tolist():
            places, placed = self._complete(int(which[i]), put[i])
            at = torch.view_as_real(places) / stretched
            turn, scale = float(factor[i, 0].angle()), float(factor[i, 0].abs())
            found.append(Fitted(at, placed, known[i], float(scores[i]), turn, scale))
        return found

    def prior(self, fitted: Fitted, query: Samples, shape: Sequence[int]) -> torch.Tensor:
        """Log density of the landmarks' places: (N, h, w). 0 at its peaks, and all over for a
        landmark that no shape of the support places."""
        stretched = stretch(query)[0, 0]
        cells = centres(query.size, shape, fitted.landmarks)
        off = (cells - fitted.landmarks.unsqueeze(1)) * stretched
        density = student(off.square().sum(-1), self.deviation, self.freedom)
        return (density * fitted.known.unsqueeze(1)).unflatten(-1, shape)

    def _field(self, heatmaps: torch.Tensor, stretched: torch.Tensor, size: int) -> torch.Tensor:
        """In each cell x, max over cells y of heatmap(y) - |x - y|^2 / 2 s^2, at least 0: (N, h, w).

        Lower envelopes of parabolas (Felzenszwalb and Huttenlocher, 2012), one axis at a time.
        """

        def along(maps: torch.Tensor, cells: int, factor: torch.Tensor) -> torch.Tensor:
            """Over the last axis."""
            steps = torch.arange(cells, device=maps.device) * (size / cells * factor)
            cost = (steps.unsqueeze(1) - steps).square() / 2
            cost = cost / self.deviation.view(-1, 1, 1) ** 2
            return (maps.unsqueeze(-2) - cost.unsqueeze(1)).amax(-1)

        h, w = heatmaps.shape[-2:]
        rows = along(heatmaps, w, stretched[0])
        return along(rows.transpose(1, 2), h, stretched[1]).transpose(1, 2).clamp(min=0)

    def _transforms(self, k: int, peaks, field, chance, stretched, size):
        """The best similarity transforms of a shape to peaks: (score, k, factor, shift)."""
        first, second = self.pairs[k].unbind(1)
        if not len(first):
            return []
        points = self.points[k]
        a, b = (
            each.flatten() for each in torch.meshgrid(*[torch.arange(PEAKS)] * 2, indexing="ij")
        )
        here, there = peaks[first][:, a], peaks[second][:, b]
        factor = (there - here) / (points[second] - points[first]).unsqueeze(1)
        shift = here - factor * points[first].unsqueeze(1)
        factor, shift = factor.flatten(), shift.flatten()
        fits = (factor.abs() < self.scale) & (factor.abs() > 1 / self.scale)
        fits &= factor.angle().abs() <= self.turn
        factor, shift = factor[fits], shift[fits]
        if not len(factor):
            return []
        known = self.known[k].nonzero()[:, 0]
        put = torch.view_as_real(factor.unsqueeze(1) * points[known] + shift.unsqueeze(1))
        h, w = field.shape[-2:]
        cell = (put / stretched * put.new_tensor([w / size, h / size])).floor().long()
        inside = ((cell >= 0) & (cell < cell.new_tensor([w, h]))).all(-1)
        place = cell[..., 1].clamp(0, h - 1) * w + cell[..., 0].clamp(0, w - 1)
        heights = field[known].flatten(1).gather(1, place.T).T
        above = torch.where(inside, heights, -1.0) - chance[known]
        scores = above.sum(1) / len(chance)
        best = scores.topk(min(FIRST, len(scores)))
        places, own = factor[best.indices, None] * points + shift[best.indices, None], self.known[k]
        unlike = self._distinct(places, own.expand(places.shape))[:TRIED]
        chosen = sorted({*range(min(TRIED, len(places))), *unlike})
        return [
            (float(best.values[i]), k, *(z[best.indices[i]] for z in (factor, shift)))
            for i in chosen
        ]

    def _distinct(self, places: torch.Tensor, own: torch.Tensor) -> list[int]:
        """Of places (R, N), the best first, those of which one of their own landmarks (R, N) is
        away from where each better one has it."""
        away = (places.unsqueeze(1) - places).abs() > DISTINCT * self.deviation
        other, kept = (away & own.unsqueeze(1)).any(-1).tolist(), []
        for i, row in enumerate(other):
            if all(row[j] for j in kept):
                kept.append(i)
        return kept

    def _complete(self, chosen: int, put: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The places (N,), those that a shape lacks from the last that has them; which are known."""
        put, known = put.clone(), self.known[chosen].clone()
        for k in range(len(self.points)):
            missing = ~self.known[chosen] & self.known[k]
            both = self.known[chosen] & self.known[k]
            if missing.any() and both.sum() >= 2:
                moved, _ = _aligned(self.points[k], put, both)
                put[missing] = moved[missing]
                known |= missing
        return put, known


def stretch(samples: Samples) -> torch.Tensor:
    """What crop pixels are multiplied by to be isotropic, as in photos: (B, 1, 2)."""
    scale = samples.scale
    return (scale / scale.prod(1, keepdim=True).sqrt()).unsqueeze(1)


def _pairs(
    points: torch.Tensor, known: torch.Tensor, apart: float, most: int, draw: torch.Generator
) -> torch.Tensor:
    """Pairs (P, 2) of a shape's landmarks that are far enough from each other; a sample of them."""
    every = torch.combinations(known.nonzero()[:, 0].cpu(), 2)
    ends = points.cpu()[every]
    every = every[(ends[:, 0] - ends[:, 1]).abs() > apart] if len(every) else every.view(0, 2)
    return every[torch.randperm(len(every), generator=draw)[:most]].to(points.device)


def _aligned(
    points: torch.Tensor, to: torch.Tensor, which: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (N,) moved by the similarity that takes some of them to others, and its factor."""
    factor, shift = _similarity(points[None], to[None], which[None].to(points.real))
    return (factor * points + shift)[0], factor[0, 0]


def _similarity(
    points: torch.Tensor, to: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """z to factor z + shift by weighted least squares; points, to, weight (R, N), both (R, 1)."""
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    means = [(weight * each).sum(1, keepdim=True) for each in (points, to)]
    a, b = points - means[0], to - means[1]
    spread = (weight * a.abs().square()).sum(1, keepdim=True)
    factor = (weight * a.conj() * b).sum(1, keepdim=True) / spread.clamp(min=1e-9)
    factor = torch.where(spread > 1e-6, factor, torch.ones_like(factor))
    return factor, means[1] - factor * means[0]


def _peaks(heatmaps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """The highest cells (N, PEAKS) of heatmaps (N, h, w) that no neighbour exceeds, complex."""
    rows = F.max_pool2d(heatmaps.unsqueeze(0), (1, 5), 1, (0, 2))  # by rows, then columns: faster
    top = F.max_pool2d(rows, (5, 1), 1, (2, 0))[0]
    peaks = torch.where(heatmaps == top, heatmaps, float("-inf")).flatten(1)
    return torch.view_as_complex(grid.contiguous())[peaks.topk(PEAKS, 1).indices]
