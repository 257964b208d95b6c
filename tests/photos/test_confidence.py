from dataclasses import replace

import pytest
import torch

from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import SamplesDetector
from fewshot_landmarks.photos.confidence import (
    SIGNS,
    Calibration,
    error_of,
    find_in,
    search,
    signs,
)
from tests.toy import toy_task

MOVE = SIGNS.index("log of the move when the image is moved")
NEAR = SIGNS.index("softmax within 3 cells of it")
ABOVE = SIGNS.index("height above all that is 4 cells off")


class Told(SamplesDetector):
    """A detector whose answer is the peak."""

    def of(self, query):
        raise NotImplementedError

    def answers(self, densities, query):
        return densities


def peaks(*places, n=8, side=16) -> torch.Tensor:
    """A heatmap (1, N, side, side) with equal peaks at places (row, column), over faint noise."""
    torch.manual_seed(0)
    maps = 0.05 * torch.randn(1, n, side, side)
    for row, column in places:
        maps[..., row, column] += 3
    return maps


def test_signs_do_not_depend_on_the_scale_of_heatmaps():
    support, maps = toy_task(9).support, peaks((4, 5))
    found, again = torch.rand(1, 8, 2) * 16, torch.rand(1, 8, 2) * 16
    one = signs(maps, found, again, support)
    torch.testing.assert_close(
        one, signs(7.5 * maps - 40, found, again, support), atol=1e-4, rtol=1e-4
    )
    assert one.shape == (1, 8, len(SIGNS)) and one.isfinite().all()


def test_a_lone_peak_shows_more_trust_than_two():
    support = toy_task(9).support
    found = torch.full((1, 8, 2), 5.0)
    lone = signs(peaks((4, 5)), found, found, support)[0, 0]
    double = signs(peaks((4, 5), (12, 12)), found, found, support)[0, 0]
    assert lone[NEAR] > double[NEAR] + 0.1
    assert lone[ABOVE] > 10 * double[ABOVE].abs()


def test_what_does_not_move_with_the_image_shows():
    task = toy_task(9, queries=3)

    def blobs(images):  # brightness: follows the image
        return images.sum(1, keepdim=True).expand(-1, 8, -1, -1)

    fixed = peaks((4, 5)).expand(3, -1, -1, -1)
    images = torch.zeros(3, 3, 16, 16)
    images[:, :, 6, 8] = 1
    query = replace(task.query, images=images)
    (_, follows), (_, stays) = (
        search(detector, query, task.support) for detector in (blobs, lambda images: fixed)
    )
    assert (follows[..., MOVE] < stays[..., MOVE] - 1).all()


def test_heatmaps_without_numbers_find_nothing():
    task = toy_task(9)
    found, _ = search(
        lambda images: torch.full((2, 8, 4, 4), float("nan")), task.query, task.support
    )
    assert found.isnan().all()


def test_support_is_counted():
    task = toy_task(9, shots=3, hidden=0.5)
    found = task.query.landmarks
    shown = signs(peaks((4, 5)).expand(2, -1, -1, -1), found, found, task.support)
    times = task.support.labelled.sum(0).clamp(min=1)
    labels = SIGNS.index("log of the support images that label it")
    torch.testing.assert_close(shown[0, :, labels], times.float().log())
    assert shown[0, 0, labels + 1].exp().item() == pytest.approx(3)


def test_calibration_by_hand():
    score = Calibration((2.0, -1.0), 0.5)(torch.tensor([[[1.0, 3.0]]]))
    assert score.item() == pytest.approx(1 / (1 + 2.718281828**0.5))


def test_log_densities_tell_what_lies_near_and_how_far_off_it_is():
    """Two heatmaps of 8 x 8 cells of 2 crop pixels, in photos stretched to twice the width: what
    lies within a tenth of an object of 80 by 20 photo pixels, 4 of them, and the mean distance in
    units of its size, 40 of them, added up cell by cell."""
    task = toy_task(9, queries=2)
    logs = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    query = replace(
        task.query[[0, 1]],
        scale=torch.tensor([[2.0, 1.0]]).expand(2, 2),
        area=torch.full((2,), 1600.0),
    )
    told = find_in(logs, Told(), query, task.support)
    torch.testing.assert_close(told.places, decode(logs, 16))
    near, mean = torch.zeros(2, 8), torch.zeros(2, 8)
    shares = (logs + 5.0).flatten(2).softmax(-1).unflatten(2, (8, 8))
    for b, n, row, column in torch.ones(2, 8, 8, 8).nonzero().tolist():
        x, y = told.places[b, n]
        off = torch.hypot((2 * column + 1 - x) * 2, 2 * row + 1 - y)
        near[b, n] += shares[b, n, row, column] * (off <= 4)
        mean[b, n] += shares[b, n, row, column] * off / 40
    assert query.size == 16
    torch.testing.assert_close(told.scores, near)
    torch.testing.assert_close(told.expected, mean)


def test_a_score_tells_the_error_of_a_gaussian_that_has_it():
    """Errors (x, y) of deviation 0.05: how many are below 0.1, and their mean length."""
    off = 0.05 * torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    length = off.norm(dim=1)
    expected = error_of((length < 0.1).float().mean()).item()
    assert expected == pytest.approx(length.mean().item(), rel=0.01)
    assert error_of(torch.tensor([0.0, 1.0])).isfinite().all()
