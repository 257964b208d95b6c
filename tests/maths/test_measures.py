"""Scores by answers worked out on paper, or another way than the code takes."""

import math
import sys

import numpy as np
import pytest

from fewshot_landmarks.metrics.calibration import calibration_error, reliability
from fewshot_landmarks.metrics.intervals import mean_error, mean_interval, resampled
from fewshot_landmarks.metrics.landmarks import auc, mean_pck, pck
from fewshot_landmarks.metrics.oks import NoCoco, oks, oks_ap

NAN = math.nan
ERRORS = np.array([[0.02, 0.1, NAN], [0.05, 0.3, 0.15]])  # two objects, five scored landmarks


# ------------------------------------------------------------------------------- errors


def test_pck_is_the_share_of_scored_landmarks_below_the_threshold():
    assert pck(ERRORS, 0.1) == 2 / 5  # an error of 0.1 itself is not below
    assert pck(ERRORS, 0.1000001) == 3 / 5
    assert mean_pck(ERRORS, [0.1, 0.2]) == pytest.approx((2 / 5 + 4 / 5) / 2)


def test_auc_is_the_area_under_pck():
    by_hand = (0.9 + 0.5 + 0.75 + 0 + 0.25) / 5  # 1 - e / 0.2, and 0 for 0.3
    assert auc(ERRORS, 0.2) == pytest.approx(by_hand)
    middles = (np.arange(10_000) + 0.5) * 0.2 / 10_000
    assert auc(ERRORS, 0.2) == pytest.approx(np.mean([pck(ERRORS, t) for t in middles]), abs=1e-4)


def test_nothing_scored_has_no_score():
    nothing = np.full((2, 3), NAN)
    assert math.isnan(pck(nothing, 0.1)) and math.isnan(auc(nothing, 0.1))
    assert math.isnan(mean_error(nothing).value)


# ---------------------------------------------------------------------------- similarity


def test_oks_by_hand():
    true = np.zeros((2, 2, 2))
    predicted = np.array([[[3, 4], [0, 0]], [[3, 4], [1000, 0]]])
    labelled = np.array([[True, True], [True, False]])
    # 5 pixels away, area 10000, sigma 0.05: exp(-25 / (2 x 10000 x 0.1 ^ 2)).
    near = math.exp(-25 / 200)
    found = oks(predicted, true, labelled, np.array([1e4, 1e4]), [0.05, 0.02])
    assert found == pytest.approx([(near + 1) / 2, near])
    assert np.isnan(oks(predicted, true, labelled & False, np.ones(2), [0.05, 0.02])).all()


def objects(*points, category=1, scores=None):
    """As in a COCO file, one a photo; each has its landmarks' points, area 10000."""
    made = [
        {
            "image_id": photo,
            "category_id": category,
            "keypoints": [number for x, y in landmarks for number in (x, y, 2)],
            "bbox": [0, 0, 100, 100],
            "area": 10_000,
        }
        for photo, landmarks in enumerate(points)
    ]
    for one, score in zip(made, scores or ()):
        one["score"] = score
    return made


def precisions(truth, results, sigmas):
    images = [{"id": number} for number in {one["image_id"] for one in truth}]
    found = oks_ap({"images": images, "annotations": truth}, results, sigmas)
    return {name: estimate.value for name, estimate in found.items()}


def test_perfect_predictions_of_two_categories_have_precision_1(capsys):
    points = [[(10, 10)], [(50, 60)]], [[(1, 2), (30, 40)], [(5, 6), (70, 80)]]
    truth = objects(*points[0]) + objects(*points[1], category=2)
    results = objects(*points[0], scores=[0.5, 0.9]) + objects(
        *points[1], category=2, scores=[0.1, 0.3]
    )
    sigmas = {1: [0.05], 2: [0.01, 0.02], 3: [0.05] * 7}  # category 3 has no object
    assert precisions(truth, results, sigmas) == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("scores", "precision"),
    [([0.9, 0.8], 1.0), ([0.8, 0.9], 0.5)],
    ids=["the good one first", "the bad one first"],
)
def test_average_precision_by_hand(scores, precision):
    # One of two objects is found: recall ends at 0.5, which 51 of 101 steps of recall reach.
    truth = objects([(50, 50)], [(50, 50)])
    results = objects([(50, 50)], [(9999, 50)], scores=scores)
    expected = 51 / 101 * precision
    assert precisions(truth, results, {1: [0.05]}) == pytest.approx(
        {"AP": expected, "AP50": expected, "AP75": expected}
    )


def test_each_category_has_its_own_sigmas():
    # Similarity 0.62 passes 0.50, 0.55 and 0.60 of ten steps; with wide sigmas all are passed.
    away = [(50 + math.sqrt(200 * math.log(1 / 0.62)), 50)]
    truth = objects([(50, 50)]) + objects([(50, 50)], category=2)
    results = objects(away, scores=[0.9]) + objects(away, category=2, scores=[0.9])
    found = precisions(truth, results, {1: [0.05], 2: [5.0]})
    assert found == pytest.approx({"AP": (0.3 + 1) / 2, "AP50": 1, "AP75": 0.5})


def test_precision_of_nothing_annotated_is_nan():
    results = objects([(50, 50)], scores=[0.9])
    found = oks_ap({"images": [{"id": 0}], "annotations": []}, results, {1: [0.05]})
    assert all(math.isnan(estimate.value) for estimate in found.values())


def test_without_pycocotools_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(NoCoco, match=r"fewshot-landmarks\[coco\]") as told:
        oks_ap({"images": [], "annotations": []}, [], {})
    assert "\n" not in str(told.value)


# --------------------------------------------------------------------------- calibration


def test_reliability_by_hand():
    scores = np.array([0, 0.1, 0.3, 0.35, 0.7, 1])  # 0.3 and 0.7 open bins, 1 is in the last
    found = reliability(scores, np.array([False, True, False, True, True, True]))
    assert found.count.tolist() == [1, 1, 0, 2, 0, 0, 0, 1, 0, 1]
    assert found.score[[0, 1, 3, 7, 9]] == pytest.approx([0, 0.1, 0.325, 0.7, 1])
    assert found.hits[[0, 1, 3, 7, 9]].tolist() == [0, 1, 0.5, 1, 1]
    assert np.isnan(found.score[2]) and np.isnan(found.hits[2])
    gaps = 0 + 0.9 + 2 * 0.175 + 0.3 + 0
    error = calibration_error(scores, np.array([False, True, False, True, True, True]))
    assert error == pytest.approx(gaps / 6)


def test_scores_that_are_right_as_often_as_they_say_have_no_calibration_error():
    hits = np.arange(100) < 25
    assert calibration_error(np.full(100, 0.25), hits) == pytest.approx(0)
    assert calibration_error(np.full(100, 0.75), hits) == pytest.approx(0.5)
    assert math.isnan(calibration_error(np.array([]), np.array([], bool)))


# ----------------------------------------------------------------------------- intervals


def test_mean_error_is_over_landmarks_and_its_interval_over_objects():
    found = mean_error(ERRORS)
    # Sums 0.12 and 0.5 of 2 and 3 landmarks, mean 0.124: residuals -+0.128, over 2.5 landmarks;
    # their standard deviation is 0.0512 x sqrt 2, their mean's standard error 0.0512.
    assert found.value == pytest.approx(0.124)
    assert found.high - found.value == pytest.approx(1.96 * 0.0512)
    assert found.value - found.low == pytest.approx(1.96 * 0.0512)


def test_mean_error_of_equally_many_landmarks_is_the_mean_of_objects():
    errors = np.random.default_rng(0).uniform(size=(20, 3))
    mean, half = mean_interval(errors.mean(1))
    with_unscored = np.vstack([errors, np.full(3, NAN)])  # an object without any is none
    assert mean_error(with_unscored) == pytest.approx((mean, mean - half, mean + half))


def test_resampled_interval_of_a_mean_is_near_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(size=400)
    mean, half = mean_interval(values)
    low, high = resampled(lambda rows: [values[rows].mean(), 7], len(values))
    assert (low[0], high[0]) == pytest.approx((mean - half, mean + half), abs=0.15 * half)
    assert low[1] == high[1] == 7
    again = resampled(lambda rows: [values[rows].mean(), 7], len(values))
    assert again.tolist() == [low.tolist(), high.tolist()]


def test_one_object_has_no_interval_and_no_number_has_none():
    assert np.isnan(resampled(lambda rows: [1.0, 2.0], 1)).all()
    ends = resampled(lambda rows: [1.0, NAN], 5)
    assert ends[:, 0].tolist() == [1, 1] and np.isnan(ends[:, 1]).all()
