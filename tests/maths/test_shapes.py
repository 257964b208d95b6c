"""Shapes fitted to heatmaps' peaks: similarities that are known are found again."""

import cmath
import math

import numpy as np
import pytest
import torch

from baselines.untrained.cells import centres
from baselines.untrained.shape import Shapes, _peaks, _similarity, stretch
from fewshot_landmarks.heatmaps import decode
from tests.toy import batch

SIZE, CELLS = 96, 48
POINTS = torch.tensor(
    [[30.0, 28.0], [66.0, 31.0], [48.0, 50.0], [36.0, 68.0], [62.0, 66.0], [52.0, 36.0]]
)


def samples(*points, labelled=None, scale=(1.0, 1.0)):
    points = torch.stack(points)
    return batch(torch.zeros(len(points), 3, SIZE, SIZE), points, labelled, scale)


def moved(points, turn=0.0, scale=1.0, shift=(0.0, 0.0)):
    """Points (N, 2) turned (radians) and scaled about their crop's middle, then shifted."""
    z = torch.view_as_complex((points - SIZE / 2).contiguous())
    return torch.view_as_real(z * cmath.rect(scale, turn)) + SIZE / 2 + torch.tensor(shift)


def peaks(points, sigma=3.0, height=6.0):
    """Heatmaps (N, h, w) with a peak at each point, and a little noise."""
    squares = (centres(SIZE, (CELLS, CELLS), points) - points.unsqueeze(1)).square().sum(-1)
    noise = torch.randn(len(points), CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    return height * torch.exp(-squares / (2 * sigma**2)).unflatten(-1, (CELLS, CELLS)) + 0.1 * noise


def fit(shapes, heatmaps, query):
    return shapes.fits(heatmaps, query)[0]


def fitted(support, points, scale=(1.0, 1.0), heatmaps=None):
    query = samples(points, scale=scale)
    return fit(Shapes.of(support), peaks(points) if heatmaps is None else heatmaps, query)


@pytest.mark.parametrize(
    "turn, scale, shift", [(0, 1, (0, 0)), (0.6, 1.2, (4, -5)), (-0.5, 0.7, (-8, 6)), (0.7, 1.5, (0, 3))]
)  # fmt: skip
def test_a_similarity_is_found_again(turn, scale, shift):
    to = moved(POINTS, turn, scale, shift)
    found = fitted(samples(POINTS), to)
    assert (found.landmarks - to).norm(dim=-1).max() < SIZE / CELLS / 2
    assert found.turn == pytest.approx(turn, abs=0.05)
    assert found.scale == pytest.approx(scale, rel=0.03)


def test_turns_and_scales_somewhat_beyond_those_of_the_support_are_tried():
    heatmaps = torch.randn(6, CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    grid = centres(SIZE, (CELLS, CELLS), heatmaps)
    for others, turn, scale in (
        ([], 0.8, 1.7),
        ([moved(POINTS, 0.3, 1.2)], 1.1, 1.3 * 1.2),
        ([moved(POINTS, -3.0, 0.5)], math.pi, 1.3 * 2),
    ):
        shapes = Shapes.of(samples(POINTS, *others))
        field = shapes._field(heatmaps[:, ::2, ::2], torch.ones(2), SIZE)
        chance = torch.zeros(6)
        tried = shapes._transforms(0, _peaks(heatmaps, grid), field, chance, torch.ones(2), SIZE)
        factors = torch.stack([factor for _, _, factor, _ in tried])
        assert len(factors) and factors.angle().abs().max() <= turn + 1e-4
        assert max(factors.abs().max(), 1 / factors.abs().min()) <= scale + 1e-4
        assert shapes.turn == pytest.approx(turn, rel=1e-4)
        assert shapes.scale == pytest.approx(scale, rel=1e-4)
    to = moved(POINTS, 2.8)
    assert (fitted(samples(POINTS, moved(POINTS, 2.0)), to).landmarks - to).norm(dim=-1).max() < 1


def test_one_wrong_peak_and_one_missing_do_not_matter():
    to = moved(POINTS, 0.3, 1.1, (3, 2))
    wrong = to.clone()
    wrong[2] += torch.tensor([22.0, -15.0])
    heatmaps = peaks(wrong)
    heatmaps[4] = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(3))
    shapes, query = Shapes.of(samples(POINTS, POINTS + 1)), samples(to)
    found = fit(shapes, heatmaps, query)
    assert (found.landmarks - to).norm(dim=-1).max() < SIZE / CELLS
    assert (decode(heatmaps[None], SIZE)[0, 2] - to[2]).norm() > 20
    with_shape = (heatmaps + 2 * shapes.prior(found, query, (CELLS, CELLS)))[None]
    assert (decode(with_shape, SIZE)[0, 4] - to[4]).norm() < 6


def test_a_landmark_that_a_photo_lacks_comes_from_another():
    labelled = torch.ones(2, 6, dtype=torch.bool)
    labelled[0, 5] = labelled[1, 0] = False
    both = samples(POINTS, moved(POINTS, 0.4), labelled=labelled)
    both.landmarks[~labelled] = 0.0  # which means nothing
    to = moved(POINTS, 0.2, 0.9, (2, -3))
    found = fitted(both, to)
    assert (found.landmarks - to).norm(dim=-1).max() < SIZE / CELLS


def test_a_landmark_that_no_shape_places_is_anywhere():
    """One that none labels, and one that is labelled only where too few others are."""
    labelled = torch.ones(2, 6, dtype=torch.bool)
    labelled[:, 4] = False
    labelled[0, 5] = False
    labelled[1, 1:5] = False
    both = samples(POINTS, POINTS, labelled=labelled)
    both.landmarks[~labelled] = 0.0
    query = samples(POINTS)
    shapes = Shapes.of(both)
    found = fit(shapes, peaks(POINTS), query)
    prior = shapes.prior(found, query, (CELLS, CELLS))
    assert torch.equal(found.known, torch.tensor([True, True, True, True, False, False]))
    assert prior[:4].flatten(1).std(-1).min() > 0.5
    assert not prior[4:].any()


def test_shapes_are_of_photos_and_not_of_stretched_crops():
    """Support and query are stretched otherwise: in photos the one is the other, turned."""
    to = moved(POINTS, 0.6)
    scales = torch.tensor([1.5, 2 / 3]), torch.tensor([0.8, 1.25])
    support = samples(POINTS / scales[0], scale=tuple(scales[0].tolist()))
    place = to / scales[1]
    found = fitted(support, place, tuple(scales[1].tolist()))
    assert (found.landmarks - place).norm(dim=-1).max() < SIZE / CELLS
    assert found.turn == pytest.approx(0.6, abs=0.03)
    torch.testing.assert_close(stretch(support)[0, 0], scales[0])
    doubled = samples(POINTS, scale=(3.0, 12.0))  # how large a photo is does not matter
    torch.testing.assert_close(stretch(doubled)[0, 0], torch.tensor([0.5, 2.0]))


def test_mirror_images_are_tried_where_the_support_shows_them():
    mirror = torch.tensor([-1.0, 1.0])
    mirrored = moved(POINTS * mirror + torch.tensor([SIZE, 0.0]), 0.1)
    to = moved(POINTS * mirror + torch.tensor([SIZE, 0.0]), -0.4, 1.1)
    assert len(Shapes.of(samples(POINTS, moved(POINTS, 0.2))).points) == 2
    both = samples(POINTS, mirrored)
    assert len(Shapes.of(both).points) == 4
    assert (fitted(both, to).landmarks - to).norm(dim=-1).max() < SIZE / CELLS
    lone = samples(POINTS, POINTS + 0.5)
    assert (fitted(lone, to).landmarks - to).norm(dim=-1).max() > 5


def test_deviations_are_of_shapes_laid_on_each_other():
    """Of all ordered pairs, laid on each other by numpy's least squares; shrunk as places are."""
    draw = torch.Generator().manual_seed(0)
    shapes = [
        moved(POINTS, 0.2 * i, 1 + 0.1 * i) + torch.randn(6, 2, generator=draw) for i in range(4)
    ]
    labelled = torch.ones(4, 6, dtype=torch.bool)
    labelled[1, 2] = labelled[3, 2] = labelled[0, 5] = False
    squares, shown = np.zeros(6), np.zeros(6)
    for i in range(4):
        for j in range(4):
            which = np.flatnonzero(labelled[i] & labelled[j])
            z, w = (shapes[k].numpy().astype(float) @ [1, 1j] for k in (i, j))
            rows = np.stack([z, np.ones(6)], 1)
            fit = np.linalg.lstsq(rows[which], w[which], rcond=None)[0]
            if i != j:
                off = np.abs(rows[which] @ fit - w[which]) ** 2 / 2  # a coordinate
                squares[which] += off * len(which) / (len(which) - 2)  # 4 of 2 P are fitted
                shown[which] += 1
    free = labelled.sum(0).numpy() - 1
    sums = squares / shown * free
    variance = (sums + 3 * sums.sum() / free.sum()) / (free + 3)
    found = Shapes.of(samples(*shapes, labelled=labelled)).deviation
    np.testing.assert_allclose(found, np.sqrt(variance + (0.03 * SIZE) ** 2), rtol=1e-3)


def test_two_landmarks_tell_a_similarity_and_fewer_none():
    to = moved(POINTS, 0.3, 1.1)
    found = fitted(samples(POINTS[:2]), to[:2])
    assert (found.landmarks - to[:2]).norm(dim=-1).max() < SIZE / CELLS
    assert Shapes.of(samples(POINTS[:1])) is None
    assert Shapes.of(samples(torch.full((5, 2), 40.0))) is None  # all in one place
    none = torch.zeros(1, 6, dtype=torch.bool)
    assert Shapes.of(samples(POINTS, labelled=none)) is None


def test_similarities_are_least_squares_of_numpy():
    draw = torch.Generator().manual_seed(0)
    points, to = torch.randn(2, 3, 7, 2, generator=draw, dtype=torch.float64)
    weight = torch.rand(3, 7, generator=draw, dtype=torch.float64)
    factor, shift = _similarity(torch.view_as_complex(points), torch.view_as_complex(to), weight)
    for i in range(3):
        z, w = (np.asarray(torch.view_as_complex(each[i])) for each in (points, to))
        root = np.sqrt(weight[i].numpy())
        rows = np.stack([z, np.ones(7)], 1) * root[:, None]
        a, b = np.linalg.lstsq(rows, w * root, rcond=None)[0]
        np.testing.assert_allclose([factor[i, 0], shift[i, 0]], [a, b])
    same = torch.view_as_complex(
        torch.ones(1, 7, 2, dtype=torch.float64)
    )  # all in one place: shifted, not turned
    factor, shift = _similarity(same, 3 * same, torch.ones(1, 7).double())
    assert factor.item() == 1 and abs(shift.item() - (2 + 2j)) < 1e-9


def test_best_transforms_are_told_by_the_field():
    """The field at x: max over y of heatmap(y) - |x - y|^2 / 2 s^2, against all pairs of cells."""
    shapes = Shapes.of(samples(POINTS, moved(POINTS, 0.2)))
    heatmaps = torch.randn(6, 6, 8, generator=torch.Generator().manual_seed(0))
    stretched = torch.tensor([1.25, 0.8])
    field = shapes._field(heatmaps, stretched, SIZE)
    places = centres(SIZE, (6, 8), heatmaps) * stretched
    squares = (places.unsqueeze(1) - places).square().sum(-1)
    cost = squares / (2 * shapes.deviation.view(-1, 1, 1) ** 2)
    expected = (heatmaps.flatten(1).unsqueeze(1) - cost).amax(-1).clamp(min=0)
    torch.testing.assert_close(field.flatten(1), expected)


def test_peaks_are_cells_that_no_neighbour_exceeds():
    heatmap = torch.zeros(1, 8, 8)
    heatmap[0, 2, 3], heatmap[0, 2, 4], heatmap[0, 6, 1], heatmap[0, 0, 7] = 5.0, 4.0, 3.0, 2.0
    grid = centres(8, (8, 8), heatmap)
    assert torch.view_as_real(_peaks(heatmap, grid))[0].tolist() == [
        [3.5, 2.5],
        [1.5, 6.5],
        [7.5, 0.5],
    ]


def test_a_shape_of_few_landmarks_is_not_preferred_for_having_few():
    """Any two peaks fit a shape of two landmarks; those of all the six say more."""
    few = torch.tensor([True, True, False, False, False, False])
    support = samples(POINTS, moved(POINTS, 0.4), labelled=torch.stack([few, ~few | few]))
    to = moved(POINTS, 0.2)
    found = fitted(support, to, heatmaps=peaks(to, height=5.0))
    assert found.own.all() and found.known.all()
    assert (found.landmarks - to).norm(dim=-1).max() < SIZE / CELLS


def test_own_landmarks_are_those_of_the_shape_and_not_of_others():
    """A shape of four, alone near what is seen, is told as four; the others complete it."""
    four = torch.tensor([True, True, True, True, False, False])
    support = samples(POINTS, moved(POINTS, 0.1), labelled=torch.stack([four, ~four]))
    to = moved(POINTS, 0.2)
    heatmaps = peaks(to)
    heatmaps[4:] = 0.1 * torch.randn(2, CELLS, CELLS, generator=torch.Generator().manual_seed(1))
    assert fitted(support, to, heatmaps=heatmaps).own.tolist() == four.tolist()


def test_other_ways_to_put_a_shape_are_where_it_is_seen_twice():
    """Of two objects in a crop, both are among the ways, the clearer one first."""
    shapes = Shapes.of(samples(0.4 * POINTS))
    left, right = 0.4 * POINTS + 2, 0.4 * POINTS + torch.tensor([50.0, 45.0])
    heatmaps = torch.maximum(peaks(left, sigma=2.0), peaks(right, sigma=2.0, height=5.0))
    ways = shapes.fits(heatmaps, samples(left), 12)
    off = [[float((way.landmarks - to).norm(dim=-1).max()) for way in ways] for to in (left, right)]
    assert off[0][0] < SIZE / CELLS and min(off[1]) < SIZE / CELLS
    assert [way.score for way in ways] == sorted((way.score for way in ways), reverse=True)
    assert len(shapes.fits(heatmaps, samples(left), 1)) == 1


def test_the_same_each_time():
    support = samples(POINTS, moved(POINTS, 0.3), moved(POINTS, -0.2, 1.1))
    to, noisy = moved(POINTS, 0.1), torch.randn(6, CELLS, CELLS)
    one, other = (fit(Shapes.of(support), noisy, samples(to)) for _ in range(2))
    assert torch.equal(one.landmarks, other.landmarks) and one.score == other.score
