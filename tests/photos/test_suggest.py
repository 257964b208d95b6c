"""Photos to label next: which they are, and what is said of them."""

import itertools

import numpy as np

from fewshot_landmarks.photos.errors.suggest import choose, likeness


def gain(alike, known, doubts, chosen) -> float:
    """What labels of some photos take of all doubts."""
    covered = known.max(1, initial=0.0)
    return float(doubts @ (np.maximum(covered, alike[:, chosen].max(1)) - covered))


def test_the_first_photo_is_the_best_one_and_few_are_nearly_the_best_few():
    rng = np.random.default_rng(0)
    for _ in range(20):
        crops = rng.normal(size=(8, 3))
        alike, known = likeness(crops, crops), likeness(crops, rng.normal(size=(2, 3)))
        doubts = rng.uniform(0.1, 1, 8)
        chosen = choose(alike, known, doubts, 3)
        assert chosen[0] == max(range(8), key=lambda i: gain(alike, known, doubts, [i]))
        best = max(gain(alike, known, doubts, list(w)) for w in itertools.combinations(range(8), 3))
        assert gain(alike, known, doubts, chosen) >= (1 - 1 / np.e) * best
        assert sorted(choose(alike, known, doubts, 99)) == list(range(8))


def test_a_photo_like_a_labelled_one_or_like_a_chosen_one_comes_late():
    """Two kinds of three, of which one is labelled, and a photo of neither."""
    crops = np.array([[1, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 1, 0], [0.1, 1, 0], [0, 0, 1.0]])
    labelled = np.array([[1, 0.05, 0.05]])
    alike, known = likeness(crops, crops), likeness(crops, labelled)
    order = choose(alike, known, np.ones(6), 6)
    assert set(order[:2]) in ({3, 5}, {4, 5})
    assert choose(alike, known, np.array([1, 1, 1, 1, 1, 9.0]), 1) == [5], "the most doubtful"


def test_likeness_by_hand():
    """Around their mean (1, 1) crops lie at (1, 0), (0, 1) and (-1, -1)."""
    crops = np.array([[2.0, 1], [1, 2], [0, 0]])
    alike = likeness(crops, crops)
    np.testing.assert_allclose(alike, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(likeness(crops, np.array([[2.0, 2]])), [[0.5**0.5], [0.5**0.5], [0]])
