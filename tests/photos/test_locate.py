"""Where objects are in photos without boxes: by hand, with detectors that see what they are told."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.untrained.clm import Seen
from fewshot_landmarks.photos.locate import (
    Locator,
    Sighting,
    box_around,
    count,
    distinct,
    overlaps,
    windows,
)
from tests.toy import batch

MARGINS = np.full(4, 0.1)
OWN = torch.tensor([True, True, False])


def seen(*points, own=OWN, likeness=1.0):
    return Seen(torch.tensor(points), own, likeness)


class Detector:
    """Sees what it is told, in photo pixels, wherever it looks."""

    likeness = 1.0

    def __init__(self, *found, left_out=()):
        self.found, self.shapes, self.asked = found, True, []
        self.folds, self.seen = [([], k) for k, _ in left_out], [each for _, each in left_out]

    def search(self, query, objects=1, ways=1):
        self.asked.append((objects, ways))
        inside = [
            Seen((each.landmarks - query.origin) / query.scale, each.own, each.likeness)
            for each in self.found
        ]
        return [inside[: objects * ways]]


def support(boxes, size=100):
    """Photos of 100 by 100 pixels with a box each, as they are and as crops of the whole."""
    boxes = torch.tensor(boxes, dtype=torch.float32)
    n = len(boxes)
    corners = torch.stack([boxes[:, :2], boxes[:, 2:], boxes[:, :2]], 1)
    labelled = torch.ones(n, 3, dtype=torch.bool)
    whole = batch(torch.zeros(n, 3, size, size), corners, labelled)
    frame = torch.tensor([[0.0, 0.0, size, size]]).expand(n, 4)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    whole.box[:], whole.area[:] = frame, area
    boxed = batch(torch.zeros(n, 3, size, size), corners, labelled)
    boxed.box[:], boxed.area[:] = boxes, area
    return SimpleNamespace(whole=whole, boxed=boxed, names=("a", "b", "c"))


def test_a_box_is_around_the_landmarks_of_the_fitted_shape():
    crops = support([[10.0, 10.0, 40.0, 50.0]]).whole
    found = seen([20.0, 20.0], [50.0, 60.0], [90.0, 5.0])
    assert box_around(found, crops, MARGINS, 100, 100).tolist() == pytest.approx([15, 15, 55, 65])
    assert box_around(found, crops, 9 * MARGINS, 60, 50).tolist() == pytest.approx([0, 0, 60, 50])


def test_overlaps_are_of_boxes_of_left_out_photos():
    photos = support([[15.0, 15.0, 55.0, 65.0], [15.0, 15.0, 55.0, 40.0]])
    found = seen([20.0, 20.0], [50.0, 60.0], [0.0, 0.0])
    there = overlaps(Detector(left_out=[(1, found), (0, found)]), photos, MARGINS)
    assert there == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("away, crops", [(0.0, True), (60.0, False)])
def test_crops_are_looked_at_where_boxes_of_left_out_photos_were_found(away, crops):
    """Without them, what the whole photo says stands."""
    photos = support([[15.0, 15.0, 55.0, 65.0]] * 3)
    found = seen([20.0, 20.0], [50.0, 60.0], [0.0, 0.0])
    elsewhere = seen([20.0 + away / 2, 20.0], [50.0 + away / 2, 60.0], [0.0, 0.0])
    left_out = [(0, elsewhere), (1, elsewhere), (2, found)]
    whole, boxed = Detector(found, left_out=left_out), Detector(found)
    locator = Locator.of(whole, boxed, photos, torch.device("cpu"))
    assert locator.crops is crops
    (sighting,) = locator(np.zeros((100, 100, 3), np.uint8))
    assert bool(boxed.asked) is crops
    if not crops:
        assert sighting.frame.tolist() == [0, 0, 100, 100]
        assert sighting.box.tolist() == [20, 20, 50, 60]


def test_the_likeliest_of_several_ways_is_taken():
    """A shape put wrongly in the whole photo, and one put rightly: its own crop tells."""
    photos = support([[15.0, 15.0, 55.0, 65.0]] * 3)
    wrong, right = (
        seen([20.0, y], [50.0, y + 40], [0.0, 0.0], likeness=like)
        for y, like in ((50.0, 1.2), (20.0, 1.1))
    )

    class Crops(Detector):
        def search(self, query, objects=1, ways=1):
            self.found = [right if query.origin[0, 1] < 30 else wrong_again]
            return super().search(query, objects, ways)

    wrong_again = seen([20.0, 50.0], [50.0, 90.0], [0.0, 0.0], likeness=0.8)
    locator = Locator.of(Detector(wrong, right), Crops(), photos, torch.device("cpu"))
    (sighting,) = locator(np.zeros((100, 100, 3), np.uint8))
    assert sighting.likeness == pytest.approx(1.1) and sighting.box[1] < 30


def test_where_nothing_fits_the_whole_photo_is_told_with_no_likeness():
    photos = support([[15.0, 15.0, 55.0, 65.0]] * 3)
    locator = Locator.of(Detector(), Detector(), photos, torch.device("cpu"))
    (sighting,) = locator(np.zeros((50, 80, 3), np.uint8))
    assert sighting.box.tolist() == [0, 0, 80, 50] and sighting.presence == 0.0


def test_a_part_of_an_object_is_no_other_object():
    """A box within a likelier one is a part of what is there; one beside it is another object."""
    boxes = {
        1.0: [0, 0, 40, 40],
        0.9: [30, 30, 42, 42],
        0.8: [36, 0, 80, 40],
        0.7: [60, 60, 90, 90],
    }
    seen = [Sighting(np.array(box, np.float32), like) for like, box in boxes.items()]
    assert [each.likeness for each in distinct(seen[::-1])] == [1.0, 0.8, 0.7]


@pytest.mark.parametrize("size", [(640, 480), (100, 100), (33, 1000)])
@pytest.mark.parametrize("part", [1.0, 0.57, 0.3, 0.05])
def test_windows_cover_the_photo_and_are_counted_without_being_made(size, part):
    frames = np.array(windows(*size, part))
    assert len(frames) == count(*size, part)
    assert frames[:, :2].min() == 0 and frames[:, 2:].max(0) == pytest.approx(size)
    assert (np.diff(np.unique(frames[:, 0])) <= 0.75 * part * max(size) + 1e-3).all()
