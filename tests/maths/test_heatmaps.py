"""Loss, features, decoding and error against numbers worked by hand."""

import math

import pytest
import torch

from fewshot_landmarks.heatmaps import (
    decode,
    detect,
    heatmap_loss,
    labelmaps,
    landmark_features,
    spatial_softmax,
)
from fewshot_landmarks.metrics.landmarks import normalised_error


def test_labelmap_marks_the_cell_that_holds_the_landmark():
    landmarks = torch.tensor([[[0.0, 0.0], [7.9, 2.0], [3.99, 4.0], [8.0, -1.0]]])
    maps = labelmaps(landmarks, size=8, shape=(4, 4))
    assert maps.shape == (1, 4, 4, 4)
    assert maps.sum((2, 3)).eq(1).all()
    cells = [divmod(int(i), 4) for i in maps[0].flatten(1).argmax(1)]
    assert cells == [(0, 0), (1, 3), (2, 1), (0, 3)]  # row, column; outside goes to the nearest


def test_loss_by_hand():
    heatmaps = torch.zeros(1, 2, 1, 2)
    heatmaps[0, 0, 0] = torch.tensor([math.log(3.0), 0.0])  # softmax 3/4, 1/4
    landmarks = torch.tensor([[[0.5, 1.0], [1.5, 1.0]]])  # in the first cell, in the second
    both = heatmap_loss(heatmaps, landmarks, 2, torch.tensor([[True, True]]))
    assert both.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    one = heatmap_loss(heatmaps, landmarks, 2, torch.tensor([[True, False]]))
    assert one.item() == pytest.approx(math.log(4 / 3))
    none = heatmap_loss(heatmaps.requires_grad_(), landmarks, 2, torch.tensor([[False, False]]))
    none.backward()
    assert none.item() == 0 and not heatmaps.grad.any()


def test_landmark_features_average_only_the_images_that_label():
    features = torch.arange(16.0).view(2, 2, 2, 2)  # image, channel, row, column
    landmarks = torch.tensor([[[0.0, 0.0], [3.0, 3.0]], [[3.0, 0.0], [0.0, 0.0]]])
    maps = labelmaps(landmarks, size=4, shape=(2, 2))
    labelled = torch.tensor([[True, True], [True, False]])
    found = landmark_features(features, maps, labelled)
    # landmark 0: cells (0, 0) of image 0 and (0, 1) of image 1; landmark 1: (1, 1) of image 0
    assert found.tolist() == [[(0 + 9) / 2, (4 + 13) / 2], [3, 7]]
    nothing = landmark_features(features, maps, torch.zeros_like(labelled))
    assert nothing.tolist() == [[0, 0], [0, 0]]


def test_detectors_are_one_by_one_filters():
    torch.manual_seed(0)
    features, omega = torch.randn(2, 3, 4, 5), torch.randn(6, 3)
    filtered = torch.nn.functional.conv2d(features, omega[:, :, None, None])
    torch.testing.assert_close(detect(features, omega), filtered)


def test_decoding_by_hand():
    heatmap = torch.tensor([[0.0, 1.0, 0.0, 0.0], [2.0, 9.0, 3.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    found = decode(heatmap.view(1, 1, 3, 4), size=12)
    # cell (row 1, column 1): right 3 > left 2, below 4 > above 1; cells of 3 x 4 pixels
    assert found.tolist() == [[[(1.5 + 0.25) * 3, (1.5 + 0.25) * 4]]]
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 3] = 1.0
    assert decode(corner, size=8).tolist() == [[[7.0, 1.0]]]  # no neighbour beyond the edge


def test_decoding_depends_on_the_order_of_cells_alone():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 6, 6)
    for same in (10 * logits, spatial_softmax(logits), -((1 - spatial_softmax(logits)) ** 2)):
        torch.testing.assert_close(decode(same, 12), decode(logits, 12))


def test_normalised_error_by_hand():
    true = torch.tensor([[[10.0, 10.0], [0.0, 0.0], [5.0, 5.0]]])
    predicted = torch.tensor([[[13.0, 14.0], [0.0, 2.0], [50.0, 50.0]]])
    scored = torch.tensor([[True, True, False]])
    errors = normalised_error(predicted, true, scored, area=torch.tensor([400.0]))
    assert errors[0, :2].tolist() == pytest.approx([5 / 20, 2 / 20])
    assert errors[0, 2].isnan()
