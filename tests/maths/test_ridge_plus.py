"""RIDGE+: its closed form, what photos that are left out say, and the answer of least error."""

import numpy as np
import torch

from baselines.ridge_plus import ridge, say, weighed
from baselines.untrained.cells import squared_distances
from fewshot_landmarks.heatmaps import decode, heatmap_loss
from fewshot_landmarks.learner import heatmaps_of, least_expected
from tests.maths.test_learners import build
from tests.toy import toy_task


def test_the_closed_form_is_ridge_regression():
    """Against least squares on rows that stand for the penalty."""
    torch.manual_seed(0)
    support = toy_task(9, shots=3).support
    features, strength, sigma = torch.randn(3, 6, 8, 8), 0.3, 1.5
    found = ridge(features, support, torch.tensor(strength), sigma)(features)
    rows = features.movedim(1, -1).reshape(-1, 6).double().numpy()
    centred = rows - rows.mean(0)
    squares = squared_distances(support.landmarks, support.size, (8, 8))
    targets = np.exp(-squares.numpy() / (2 * (sigma * support.size / 8) ** 2))
    targets = targets * support.labelled.numpy()[..., None]
    targets = targets / support.labelled.double().mean(0).clamp(min=1 / 3).numpy()[:, None]
    targets = np.moveaxis(targets, 1, -1).reshape(-1, support.landmarks.shape[1])
    penalty = np.sqrt(strength * (centred**2).sum(0).mean()) * np.eye(6)
    zeros = np.zeros((6, targets.shape[1]))
    omega = np.linalg.lstsq(
        np.concatenate([centred, penalty]),
        np.concatenate([targets - targets.mean(0), zeros]),
        rcond=None,
    )[0]
    wanted = torch.from_numpy(centred @ omega).view(3, 8, 8, -1).movedim(-1, 1)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-3, atol=1e-4)


def test_left_out_photos_tell_what_to_trust():
    """Where features say where landmarks are, the look is trusted; where they are noise, the place."""
    torch.manual_seed(0)
    model, support = build("RIDGE+"), toy_task(9, shots=8, hidden=0.0).support
    squares = squared_distances(support.landmarks, support.size, (8, 8)).view(8, -1, 8, 8)
    telling = torch.exp(-squares / 8)
    start = model.start(8).detach()
    nothing = torch.zeros(8, 0, 4, 4)
    trusted = model.choose(support, (telling, nothing)) - start
    noise = model.choose(support, (torch.randn_like(telling), nothing)) - start
    assert trusted[0] > 0.3 and noise[0] < -0.3
    assert trusted[0] - trusted[2] > noise[0] - noise[2]
    one = support[:1]
    assert torch.equal(model.choose(one, (telling[:1], nothing[:1])), model.start(1))


def test_weights_end_no_worse_than_they_start():
    """Also where a whole step would go past the least loss and back again."""
    torch.manual_seed(0)
    model, support = build("RIDGE+"), toy_task(9, shots=6, hidden=0.0).support
    squares = squared_distances(support.landmarks, support.size, (8, 8)).view(6, -1, 8, 8)
    telling = torch.exp(-squares / 8)
    telling[::2] = telling[::2].roll(3, -1)
    nothing, found = torch.zeros(6, 0, 4, 4), []
    for log_weights in (model.start(6).detach(), model.choose(support, (telling, nothing))):
        losses = []
        for k in range(6):
            rest = torch.arange(6) != k
            learnt = model.learnt(support[rest], (telling[rest], nothing[rest]))
            one = support[~rest]
            parts = say(learnt, one, (telling[~rest], nothing[~rest]))
            losses.append(
                heatmap_loss(weighed(parts, log_weights), one.landmarks, one.size, one.labelled)
            )
        found.append(torch.stack(losses).mean())
    assert found[1] < found[0] - 0.01


def test_weights_multiply_what_each_part_says():
    parts = torch.randn(3, 2, 4, 5, 5)
    found = weighed(parts, torch.tensor([2.0, 3.0, 5.0]).log())
    torch.testing.assert_close(found, 2 * parts[0] + 3 * parts[1] + 5 * parts[2])


def test_tasks_teach_features_weights_and_lambdas():
    model, task = build("RIDGE+"), toy_task(9, shots=3)
    model.meta_loss(task).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if not n.startswith("base.")}
    assert all(grad is not None and grad.any() for grad in grads.values())
    assert grads["log_weights"][1] == 0  # toy networks do not stand on ImageNet's features


def test_the_answer_has_the_least_expected_distance_in_photos():
    torch.manual_seed(0)
    query = toy_task(9).query  # scales 2 and 3
    densities = 2 * torch.randn(2, 3, 6, 8)
    found = least_expected(densities, query)
    x = (torch.arange(8) + 0.5) * query.size / 8 * 2.0
    y = (torch.arange(6) + 0.5) * query.size / 6 * 3.0
    places = torch.stack([x.expand(6, 8), y.unsqueeze(1).expand(6, 8)], -1).flatten(0, 1)
    wanted = -densities.flatten(2).softmax(-1) @ torch.cdist(places, places)
    torch.testing.assert_close(found.flatten(2), wanted, rtol=1e-4, atol=1e-3)


def test_between_two_peaks_it_takes_the_larger_and_off_a_slope_the_middle():
    query = toy_task(9).query[:1]
    densities = torch.full((1, 2, 9, 9), -20.0)
    densities[0, 0, 4, 1], densities[0, 0, 4, 7] = 1.0, 0.0
    densities[0, 1, 4, 2:7] = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6])
    (one, other), cell = decode(least_expected(densities, query), query.size)[0], query.size / 9
    assert abs(one[0] / cell - 1.5) <= 0.25 and abs(other[0] / cell - 4.0) < 1.0


def test_the_detector_answers_for_boxes_of_queries():
    model, task = build("RIDGE+"), toy_task(9, shots=3)
    heatmaps = heatmaps_of(model.adapt(task.support), task.query)
    assert heatmaps.shape[:2] == task.query.landmarks.shape[:2] and heatmaps.isfinite().all()
