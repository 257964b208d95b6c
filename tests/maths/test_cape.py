"""CAPE: where it starts, its loss worked by hand, and what its tokens may and may not see."""

import dataclasses
import math

import pytest
import torch

from baselines.cape import landmarks_of
from baselines.untrained.cells import centres, squared_distances
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.samples import Samples, Task
from tests.maths.test_learners import build
from tests.toy import batch, toy_task


def taught(seed: int = 3):
    """A CAPE whose V, U and W are not zero any more."""
    model = build("CAPE")
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in (model.head.of_tokens, model.head.of_cells, model.head.offset):
            layer.weight.normal_(0, 0.3)
            layer.bias.normal_(0, 0.1)
    return model


def chosen(samples: Samples, which) -> Samples:
    """The same garments with some of their landmarks, in another order."""
    names = ("landmarks", "labelled", "scored")
    return dataclasses.replace(
        samples, **{name: getattr(samples, name)[:, which] for name in names}
    )


@torch.no_grad()
def answer(model, task: Task) -> torch.Tensor:
    return model.adapt(task.support)(task.query.images)


def test_it_starts_as_proto():
    """Before any task the first stage is PROTO's softmax, and its mean place is not moved."""
    task, model, proto = toy_task(4, shots=2), build("CAPE"), build("PROTO")
    known = task.learnable()
    with torch.no_grad():
        landmarks = landmarks_of(model.fenet(task.support.images), task.support)
        first, both, places = model.stages(model.fenet(task.query.images), landmarks)
        expected = proto.scale * proto.adapt(task.support)(task.query.images)
    one, other = (maps[:, known].flatten(2).softmax(-1) for maps in (first, expected))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    shape = first.shape[2:]
    torch.testing.assert_close(places[:, known], one @ centres(1, shape, first))
    far = model.head.log_sharpness.exp() * squared_distances(places, 1, shape)
    moved = first.flatten(2) - far
    torch.testing.assert_close(
        both[:, known].flatten(2).softmax(-1), moved[:, known].softmax(-1), rtol=1e-3, atol=1e-6
    )


def test_the_loss_of_flat_similarities_by_hand():
    """With s = 0 proposals are the crop's centre, and all three losses can be worked out on paper.

    A crop of 2 x 2 cells has their centres at 1/4 and 3/4. The first loss is log 4. An offset of
    (1/4, 1/4) puts r on the centre of the last cell: squared distances 1/2, 1/4, 1/4, 0, which b = 4
    makes logits -2, -1, -1, 0. The landmarks are in the first, the last and the second cell, and
    one is not labelled in the query.
    """
    model = build("CAPE", place_weight=3.0)
    model.fenet = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        model.log_scale.fill_(-math.inf)
        model.head.offset.bias.fill_(0.25)
        model.head.log_sharpness.fill_(math.log(4.0))
    places = torch.tensor([[[1.0, 1.0], [3.0, 3.0], [3.0, 1.0], [0.0, 0.0]]])
    support, query = (batch(torch.rand(1, 3, 4, 4), places) for _ in range(2))
    query.labelled[0, 3] = False
    second = (2 + 0 + 1) / 3 + math.log(math.exp(-2) + 2 * math.exp(-1) + 1)
    distance = (1 + 0 + 0.5) / 3  # from (3/4, 3/4), in x and y together
    expected = math.log(4) + second + 3.0 * distance
    assert model.meta_loss(Task(1, support, query)).item() == pytest.approx(expected, rel=1e-5)


def test_its_answer_follows_the_refined_place():
    model, task = build("CAPE"), toy_task(9, shots=2, hidden=0.0)
    with torch.no_grad():
        model.log_scale.fill_(-math.inf)
        model.head.offset.bias.copy_(torch.tensor([0.25, -0.125]))  # from the crop's centre
    found = decode(answer(model, task), 16)
    assert (found - torch.tensor([12.0, 6.0])).abs().max() <= 1.0  # half a cell


def test_another_order_of_landmarks_is_another_order_of_heatmaps():
    model, task = taught(), toy_task(9, shots=3)
    order = torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    moved = Task(9, chosen(task.support, order), chosen(task.query, order))
    torch.testing.assert_close(
        answer(model, moved), answer(model, task)[:, order], rtol=1e-3, atol=1e-3
    )


def test_a_landmark_that_nobody_labels_is_unseen_by_the_others():
    model, task = taught(), toy_task(9, shots=3, hidden=0.0)
    task.support.labelled[:, 3] = False
    others = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    alone = Task(9, chosen(task.support, others), chosen(task.query, others))
    heatmaps = answer(model, task)
    torch.testing.assert_close(heatmaps[:, others], answer(model, alone), rtol=1e-3, atol=1e-3)
    assert not heatmaps[:, 3].any()
    task.support.labelled[:] = False
    assert answer(model, task).isfinite().all()


def test_landmarks_attend_to_each_other():
    """Where one landmark lies in the support matters to the heatmap of another."""
    model, task = taught(), toy_task(9, shots=2, hidden=0.0)
    before = answer(model, task)
    task.support.landmarks[:, 3] = 16 - task.support.landmarks[:, 3]
    assert not torch.allclose(answer(model, task)[:, 0], before[:, 0], atol=1e-4)


def test_what_a_support_says_by_hand():
    task = toy_task(9, shots=2, hidden=0.0)
    task.support.labelled[1, 2] = task.support.labelled[0, 4] = False
    task.support.labelled[:, 5] = False
    features = torch.randn(2, 4, 8, 8)
    found = landmarks_of(features, task.support)
    assert found.labelled.tolist() == [True] * 5 + [False] + [True] * 2
    places = task.support.landmarks / 16
    torch.testing.assert_close(found.places[0], places[:, 0].mean(0))
    torch.testing.assert_close(found.places[2], places[0, 2])
    torch.testing.assert_close(found.places[4], places[1, 4])
    x, y = (places[0, 2] * 8).long()
    torch.testing.assert_close(found.points[2], features[0, :, y, x])


def test_the_gradient_reaches_every_parameter():
    model = taught()
    model.meta_loss(toy_task(9, shots=3)).backward()
    own = [(name, p) for name, p in model.named_parameters() if not name.startswith("base.")]
    assert not [name for name, p in own if p.grad is None or not p.grad.any()]


def test_any_number_of_landmarks():
    model = taught()
    for count in (1, 200):
        crops = batch(torch.rand(2, 3, 16, 16), 16 * torch.rand(2, count, 2))
        heatmaps = answer(model, Task(1, crops, crops))
        assert heatmaps.shape == (2, count, 8, 8) and heatmaps.isfinite().all()
