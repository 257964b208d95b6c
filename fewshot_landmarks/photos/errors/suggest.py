"""Which photos to label next: those that show much of what is not known.

A photo tells of photos like it. Each photo has a doubt, the error that is expected in it, and what a
set of labelled photos leaves of it is less the more one of them is like it: a facility-location
function (Wei, Iyer and Bilmes, ICML 2015, choose training data by it), of which taking the best
photo again and again finds at least 63% of what any choice of as many has.
"""

import numpy as np
import torch
import torch.nn.functional as F

from fewshot_landmarks.learner import Learner
from fewshot_landmarks.photos.confidence import error_of

GRID = 7  # cells a side of a crop whose features are compared


def described(learner: Learner, images: torch.Tensor) -> np.ndarray:
    """Crops (B, 3, S, S) as (B, D): their features in coarse cells."""
    with torch.no_grad():
        features = torch.cat([learner.base_features(one) for one in images.split(1)])
    return F.adaptive_avg_pool2d(features, GRID).flatten(1).cpu().numpy()


def doubts_of(scores: np.ndarray) -> np.ndarray:
    """The errors (P,) that scores (P, N) tell of photos, in units of the object's size: the mean
    over landmarks that have a score."""
    errors, there = error_of(torch.from_numpy(scores)).numpy(), scores > 0
    there = there | ~there.any(1, keepdims=True)  # or nothing was found at all
    return (errors * there).sum(1) / there.sum(1)


def likeness(crops: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How alike crops (P, D) are to others (Q, D): (P, Q), 0 to 1, the cosine of how they differ
    from the mean of the crops."""
    mean = crops.mean(0)
    one, other = (each - mean for each in (crops, others))
    one, other = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-9)
        for each in (one, other)
    )
    return np.clip(one @ other.T, 0, 1)


def choose(alike: np.ndarray, known: np.ndarray, doubts: np.ndarray, count: int) -> list[int]:
    """Numbers of the photos to label next, the best first.

    alike: (P, P) of the photos without labels to each other; known: (P, L) of them to L labelled
    ones; doubts: (P,) the errors that are expected in them; count: how many, all where there are
    fewer.
    """
    covered = known.max(1, initial=0.0)
    chosen: list[int] = []
    for _ in range(min(count, len(alike))):
        gains = doubts @ np.maximum(alike - covered[:, None], 0)
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        covered = np.maximum(covered, alike[:, chosen[-1]])
    return chosen
