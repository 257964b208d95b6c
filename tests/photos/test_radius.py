"""Radii: what photos left out promise, and that it holds."""

import numpy as np
import pytest
import torch

from fewshot_landmarks.photos.errors.radius import Promise, independent, left_out_singly
from fewshot_landmarks.photos.model import load, untrained
from fewshot_landmarks.support.errors import UserError
from tests.toy import batch

nan = float("nan")


def test_landmarks_whose_errors_come_together_count_as_fewer():
    """Four photos of four landmarks, a quarter of them beyond. In one photo: shares 1, 0, 0, 0 vary
    by 3/4 / 3 = 1/4, where landmarks alone vary by 1/4 * 3/4 / 4, so sixteen count as at most the
    four photos. One in each: as sixteen."""
    told = np.ones((4, 4), bool)
    together = np.zeros((4, 4), bool)
    together[0] = True
    assert independent(together, told) == pytest.approx(4)
    assert independent(np.eye(4, dtype=bool), told) == pytest.approx(16)
    # Shares 1/2, 1/2, 0, 0 vary by 1/12, 16/9 times 3/64.
    pairs = np.zeros((4, 4), bool)
    pairs[:2, :2] = True
    assert independent(pairs, told) == pytest.approx(9)


def test_a_promise_by_hand():
    """Ten photos of one landmark, errors 1 to 10 where 1 was expected of each: with half the usual
    value the ratios are 2/3 to 20/3. Ten independent ones: the quantile at 0.8 * 1.1 of them, which
    is 0.88 * 9 = 7.92 steps above the least."""
    errors, expected = np.arange(1.0, 11)[:, None], np.ones((10, 1))
    promise = Promise.of(errors, expected, 0.8)
    assert (promise.level, promise.usual) == (0.8, 1.0)
    assert promise.ratio == pytest.approx((1 + 7.92) * 2 / 3)
    assert promise.radii(np.array([3.0]))[0] == pytest.approx((1 + 7.92) * 2 / 3 * 3.5)


def test_few_photos_promise_less():
    five = Promise.of(np.arange(1.0, 6)[:, None], np.ones((5, 1)), 0.9)
    assert five.level == pytest.approx(5 / 6)
    assert five.ratio == pytest.approx(5 / 1.5), "the largest of five"
    unseen = np.array([[1.0, nan], [nan, nan], [nan, nan]])
    assert Promise.of(unseen, np.ones((3, 2)), 0.9) is None, "labelled in one photo alone"


@pytest.mark.parametrize("together", [0.0, 0.9])
def test_radii_hold_for_photos_like_those_that_were_left_out(together):
    """Errors of landmarks that differ in how hard they are, in photos that do: of 400 draws of ten
    photos the mean share within radii is the level, to three hundredths, and some photos vary."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        hard = rng.uniform(0.5, 2, (1, 6))
        photo = rng.gamma(1 / (0.05 + together), 0.05 + together, (210, 1))
        sigma = hard * photo
        errors = np.hypot(*rng.normal(0, sigma, (2, 210, 6)))
        expected = 3 * hard * np.ones_like(sigma)  # on another scale; it knows nothing of photos
        promise = Promise.of(errors[:10], expected[:10], 0.9)
        held.append((errors[10:] <= promise.radii(expected[10:])).mean())
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_photos_are_left_out_one_by_one():
    """The mean position of three objects in boxes of 10 by 10, one of them without the second
    landmark: errors worked out by hand."""
    learner = untrained("PLACE").learner
    points = torch.tensor([[[2.0, 2.0], [1, 1]], [[4.0, 4.0], [1, 1]], [[8.0, 6.0], [1, 1]]])
    labelled = torch.tensor([[True, False], [True, False], [True, True]])
    support = batch(torch.zeros(3, 3, 32, 32), points, labelled)
    support.box[:] = torch.tensor([0.0, 0.0, 10.0, 10.0])
    support.area[:] = 100.0
    errors, expected, scores = left_out_singly(learner, learner.adapt(support), support, None)
    # Cells are 4 pixels wide, so that places are told to the nearest centre.
    by_hand = [np.hypot(4, 3) / 10, np.hypot(1, 0) / 10, np.hypot(5, 3) / 10]
    np.testing.assert_allclose(errors[:, 0], by_hand, atol=0.2 * np.sqrt(2))
    assert np.isnan(errors[:, 1]).all(), "labelled in one photo alone"
    assert expected.shape == (3, 2) and (expected > 0).all()
    assert (scores[:2, 1] == 0).sum() == 0 and scores[2, 1] == 0, "0 where no other photo labels it"


@pytest.mark.parametrize("learner", ["CLM", "PLACE", "PROTO"])
def test_found_landmarks_have_radii_where_these_were_asked(learner):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 255, (60, 60, 3)).astype(np.uint8) for _ in range(4)]
    landmarks = rng.uniform(15, 45, (4, 3, 2))
    landmarks[:, 2] = nan
    boxes = np.array([[5, 5, 55, 55]] * 4)
    finder = load(learner).adapt(photos[:3], landmarks[:3], boxes=boxes[:3])
    plain = finder.predict(photos[3:], boxes[3:])
    found = finder.predict(photos[3:], boxes[3:], level=0.9)
    np.testing.assert_array_equal(plain.landmarks, found.landmarks)
    assert np.isnan(plain.radii).all()
    assert finder.promise(0.9).level == pytest.approx(3 / 4)
    assert np.isfinite(found.radii[0, :2]).all() and (found.radii[0, :2] > 0).all()
    assert np.isnan(found.radii[0, 2]), "no photo labels it"
    one = load(learner).adapt(photos[:1], landmarks[:1], boxes=boxes[:1])
    assert one.promise(0.9) is None
    assert np.isnan(one.predict(photos[3:], level=0.9).radii).all()
    with pytest.raises(UserError, match=r"level 1\.5"):
        finder.predict(photos, level=1.5)
