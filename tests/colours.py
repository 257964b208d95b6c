"""Photos whose landmarks are blobs of colours of their own, and a learner that finds those."""

import cv2
import numpy as np
import torch

from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.photos.model import Model

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
SHAPE = np.array([[0.1, 0.2], [0.9, 0.1], [0.8, 0.9], [0.3, 0.7]])  # across the object's box


class Colours(Learner):
    """The cell whose colour is nearest to the mean colour of a landmark's cells in the support."""

    name = "COLOURS"

    def adapt(self, support):
        cells = (support.landmarks / support.size * SIZE).long().clamp(0, SIZE - 1)
        weight = support.labelled.unsqueeze(-1).float()
        each = torch.stack([i[:, c[:, 1], c[:, 0]].T for i, c in zip(support.images, cells)])
        wanted = (each * weight).sum(0) / weight.sum(0).clamp(min=1)
        return lambda images: -(images.unsqueeze(1) - wanted[..., None, None]).square().sum(2)


SIZE = 32
OPTIONS = {"small": {"channels": 4, "width": 8}, "efficientnet": {"channels": 4}}


def model(
    name="tests.colours:Colours", calibration=None, size=SIZE, network="small", options=None
) -> Model:
    """A model of an untrained learner."""
    options = options or OPTIONS[network]
    learner = find_learner(name)
    torch.manual_seed(0)
    fenet = FENETS[network](**options)
    kind = "cosine" if learner.base_kind == "cosine" else "linear"
    base = BaseModel(fenet, {7: 10, 9: 8}, kind, 39)
    fitted = learner(base, learner.Settings(feature_cache=0)).eval()
    about = {"preset": "toy"}
    return Model(fitted, name, network, options, size, calibration, about)


def photo(number: int, width=120, height=90, box=None):
    """Photo `number` (H, W, 3), its landmarks (4, 2), and the object's box (4,)."""
    random = np.random.default_rng(number)
    image = random.integers(90, 130, (height, width, 3)).astype(np.uint8)
    if box is None:
        x, y = random.uniform(0, 0.2, 2) * (width, height)
        box = np.array([x, y, x + 0.7 * width, y + 0.7 * height])
    box = np.asarray(box, np.float32)
    landmarks = box[:2] + SHAPE * (box[2:] - box[:2]) + random.uniform(-2, 2, (4, 2))
    for place, colour in zip(landmarks, COLOURS):
        centre = tuple(place.astype(int).tolist())
        cv2.circle(image, centre, radius(width, height), colour.tolist(), -1)
    return image, landmarks.astype(np.float32), box


def radius(width: int, height: int) -> int:
    """Of the blobs, pixels."""
    return max(4, round(0.06 * max(width, height)))


def photos(numbers, **options):
    """Lists of `photo`."""
    return tuple(map(list, zip(*(photo(i, **options) for i in numbers))))
