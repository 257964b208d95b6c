"""What error to expect: objects left out together count as one, and the control knows no more."""

import numpy as np
import pytest
import torch

from fewshot_landmarks.metrics.intervals import mean_error
from fewshot_landmarks.photos.errors.expected import by_fold, expected, of_mean_position
from fewshot_landmarks.photos.model import load
from tests.toy import batch

nan = float("nan")


def test_objects_left_out_together_are_one_in_the_interval():
    errors = np.array([[0.1, 0.2], [0.3, nan], [0.2, 0.2]])
    folds = [([2], 0), ([2], 1), ([0, 1], 2)]
    rows = by_fold(errors, folds)
    np.testing.assert_array_equal(rows, [[0.1, 0.2, 0.3, nan], [0.2, 0.2, nan, nan]])
    assert mean_error(rows).value == pytest.approx(mean_error(errors).value) == pytest.approx(0.2)


def test_the_control_learns_from_the_objects_that_were_kept():
    """Three objects in boxes of 10 by 10: the mean position of those kept, worked out by hand."""
    points = torch.tensor([[[2.0, 2.0]], [[4.0, 4.0]], [[8.0, 6.0]]])
    support = batch(torch.zeros(3, 3, 10, 10), points, torch.ones(3, 1, dtype=torch.bool))
    support.box[:] = torch.tensor([0.0, 0.0, 10.0, 10.0])
    support.area[:] = 100.0
    found = of_mean_position(support, [([2], 0), ([0, 1], 2)])
    assert found[:, 0] == pytest.approx([np.hypot(6, 4) / 10, np.hypot(5, 3) / 10])


def test_many_photos_of_few_moments_are_told_of():
    """Twelve objects, each photo twice: six moments, and an interval of as many."""
    generator = np.random.default_rng(0)
    photos = [generator.integers(0, 255, (60, 60, 3)).astype(np.uint8) for _ in range(6)]
    landmarks = generator.uniform(15, 45, (6, 3, 2))
    finder = load("CLM").adapt([*photos, *photos], np.concatenate([landmarks, landmarks]))
    errors, folds = finder.left_out
    assert len(errors) == len(folds) == 12 and len({tuple(kept) for kept, _ in folds}) == 6
    assert all(k not in kept and (k + 6) % 12 not in kept for kept, k in folds)
    assert expected(finder)[0].startswith("error to expect")
