"""Meta-gradients against finite differences and a plain unrolled reference, in double precision."""

import copy
import weakref
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call

from baselines.proto import prototypes
from fewshot_landmarks.heatmaps import (
    detect,
    labelmaps,
    landmark_features,
    query_loss,
    support_loss,
)
from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Task
from fewshot_landmarks.training import Training
from tests.toy import double, toy_base, toy_task, toy_tasks

RATES = {"inner_rate": 0.05, "detector_rate": 0.5, "inner_steps": 3}


def build(name: str):
    learner = find_learner(name)
    torch.manual_seed(1)
    model = learner(toy_base(kind=learner.base_kind), learner.Settings(**RATES)).double()
    for parameter in model.parameters():  # H starts as the identity: give it something to do
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    return model


def meta_parameters(model) -> list[torch.Tensor]:
    frozen = ("base.", "ppnet.")
    return [p for n, p in model.named_parameters() if not n.startswith(frozen)]


@pytest.mark.parametrize("name", ["MetaCloth", "LD-Keep", "MAML", "PROTO-MA", "PAML"])
def test_against_finite_differences(name):
    model, task = build(name), double(toy_task())
    parameters = meta_parameters(model)
    gradients = torch.autograd.grad(model.meta_loss(task), parameters)
    torch.manual_seed(2)
    for _ in range(3):
        # Mostly along the gradient, or a random direction in 80,000 dimensions would be flat.
        direction = [g + 0.3 * g.norm() * torch.randn_like(g) / g.numel() ** 0.5 for g in gradients]
        length = sum(d.square().sum() for d in direction).sqrt()
        direction = [d / length for d in direction]
        analytic = sum((g * d).sum() for g, d in zip(gradients, direction))
        numeric = difference(model, task, parameters, direction, 1e-7)
        assert abs(analytic) > 1e-3
        torch.testing.assert_close(analytic, numeric, rtol=1e-5, atol=0)


def difference(model, task, parameters, direction, step: float) -> torch.Tensor:
    losses = []
    for sign in (1, -1):
        move(parameters, direction, sign * step)
        losses.append(model.meta_loss(task).detach())
        move(parameters, direction, -sign * step)
    return (losses[0] - losses[1]) / (2 * step)


@torch.no_grad()
def move(parameters, direction, step):
    for parameter, part in zip(parameters, direction):
        parameter += step * part


def unrolled(model, start, support, rates, steps, second_order):
    """Gradient descent written out on a dictionary of parameters, with nothing but autograd."""
    values = dict(start)
    for _ in range(steps):
        heatmaps = functional_call(model, values, (support.images,))
        gradients = torch.autograd.grad(
            support_loss(heatmaps, support), list(values.values()), create_graph=second_order
        )
        values = {
            name: value - rates[name.split(".")[0]] * gradient
            for (name, value), gradient in zip(values.items(), gradients)
        }
    return values


def test_maml_against_plain_unrolling():
    maml, task = build("MAML"), double(toy_task())
    expanded = Task(task.category, maml.expand(task.support), maml.expand(task.query))
    start = dict(maml.model.named_parameters())
    rates = {"fenet": 0.05, "omega": 0.5}
    gradients = {}
    for second_order in (True, False):
        values = unrolled(maml.model, start, expanded.support, rates, 3, second_order)
        heatmaps = functional_call(maml.model, values, (expanded.query.images,))
        loss = query_loss(heatmaps, expanded)
        gradients[second_order] = torch.autograd.grad(loss, list(start.values()))
    ours = torch.autograd.grad(maml.meta_loss(task), list(start.values()))
    for mine, reference in zip(ours, gradients[True]):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)
    apart = [(a - b).norm() / b.norm() for a, b in zip(ours, gradients[False]) if b.norm() > 1e-6]
    assert max(apart) > 1e-2  # first order gives something else


def test_proto_ma_gradient_flows_through_the_start():
    learner, task = build("PROTO-MA"), double(toy_task())
    points = prototypes(learner.fenet(task.support.images), task.support)
    omega = 2 * learner.scale * points
    model = LandmarkModel(learner.fenet, torch.zeros_like(omega))
    parameters = list(learner.fenet.parameters())
    rates = {"fenet": 0.05, "omega": 0.5}

    def gradient(start):
        # Clones, so that the inner gradient does not see omega as a function of theta.
        values = {f"fenet.{name}": p.clone() for name, p in learner.fenet.named_parameters()}
        values = unrolled(model, {"omega": start, **values}, task.support, rates, 3, True)
        loss = query_loss(functional_call(model, values, (task.query.images,)), task)
        return torch.autograd.grad(loss, parameters)

    ours = torch.autograd.grad(learner.meta_loss(task), parameters)
    for mine, reference in zip(ours, gradient(omega)):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)
    cut = gradient(omega.detach().requires_grad_())
    assert max((a - b).norm() / a.norm() for a, b in zip(ours, cut)) > 1e-2


def prepared(name: str):
    """A learner of MetaCloth's family with theta apart from theta0, and its parts."""
    model, task = build(name), double(toy_task())
    with torch.no_grad():
        for parameter in model.fenet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model, task


def fenet_descent(model, omega, support, second_order):
    """theta' written out: gradient descent on theta alone, omega constant."""
    values = dict(model.fenet.named_parameters())
    for _ in range(RATES["inner_steps"]):
        heatmaps = detect(functional_call(model.fenet, values, (support.images,)), omega)
        gradients = torch.autograd.grad(
            support_loss(heatmaps, support), list(values.values()), create_graph=second_order
        )
        values = {n: v - RATES["inner_rate"] * g for (n, v), g in zip(values.items(), gradients)}
    return values


def masks_at_peaks(heatmaps):
    """Predicted labelmaps: one-hot masks, as section 3.3.1 has labelmaps."""
    return (heatmaps == heatmaps.amax((2, 3), keepdim=True)).to(heatmaps.dtype)


@pytest.mark.parametrize("name, updates", [("MetaCloth", True), ("LD-Keep", False)])
def test_algorithm_1_written_out(name, updates):
    model, task = prepared(name)
    support, query = task.support, task.query
    cloth = model.base.fenet(support.images)
    maps = masks_at_peaks(model.base.heatmaps(cloth, task.category))
    omega = model.ppnet(landmark_features(cloth, maps, support.labelled)).detach()
    values = fenet_descent(model, omega, support, True)
    if updates:
        again = functional_call(model.fenet, values, (support.images,))
        omega = model.ppnet(landmark_features(again, maps, support.labelled))
    loss = query_loss(detect(functional_call(model.fenet, values, (query.images,)), omega), task)
    torch.testing.assert_close(model.meta_loss(task), loss, rtol=1e-10, atol=0)
    parameters = list(model.fenet.parameters())
    ours = torch.autograd.grad(model.meta_loss(task), parameters)
    for mine, reference in zip(ours, torch.autograd.grad(loss, parameters)):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name, updates",
    [
        ("MetaCloth", True),
        ("Base-FEN", True),
        ("Base-FEN_M", False),
        ("LD-Keep", True),
        ("LD-Keep_M", False),
    ],
)
def test_algorithm_2_written_out(name, updates):
    model, task = prepared(name)
    support, query = task.support, task.query
    cloth = model.base.fenet(support.images)
    maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])
    omega = model.ppnet(landmark_features(cloth, maps, support.labelled)).detach()
    values = fenet_descent(model, omega, support, False)
    kept = omega
    if updates:
        again = functional_call(model.fenet, values, (support.images,))
        omega = model.ppnet(landmark_features(again, maps, support.labelled))
        assert not torch.allclose(omega, kept)
    expected = detect(functional_call(model.fenet, values, (query.images,)), omega)
    with torch.no_grad():
        torch.testing.assert_close(model.adapt(support)(query.images), expected)


def test_algorithm_3_written_out():
    """One step at rate 0: the loss that moves phi is the query's, under (theta0, omega)."""
    model = build("Base-FEN").float()
    model.settings = replace(model.settings, ppnet_tasks=1, head_rate=0.0)
    training = Training(toy_tasks())
    model.fit(training)
    task = toy_tasks()[0]
    cloth = model.base.fenet(task.support.images)
    maps = masks_at_peaks(model.base.heatmaps(cloth, task.category))
    omega = model.ppnet(landmark_features(cloth, maps, task.support.labelled))
    loss = query_loss(detect(model.base.fenet(task.query.images), omega), task)
    assert training.losses == pytest.approx([loss.item()], rel=1e-5)


def test_paml_written_out():
    model, task = build("PAML"), double(toy_task())
    expanded = Task(task.category, model.expand(task.support), model.expand(task.query))
    start = dict(model.model.named_parameters())
    values = unrolled(model.model, start, expanded.support, {"fenet": 0.05, "omega": 0.5}, 3, True)
    omega = model.regression(values["omega"])
    fenet = {n.removeprefix("fenet."): v for n, v in values.items() if n != "omega"}
    features = functional_call(model.model.fenet, fenet, (task.query.images,))
    many_shot = model.base.detectors(9)
    gaps = [(omega[i] - many_shot[i % 8]).square().sum() for i in range(39)]
    learnt = expanded.learnable().tolist()
    distance = sum(gap for gap, known in zip(gaps, learnt) if known) / sum(learnt)
    loss = query_loss(detect(features, omega), expanded)
    loss = loss + model.settings.distance_weight * distance
    torch.testing.assert_close(model.meta_loss(task), loss, rtol=1e-10, atol=0)


def test_metacloth_gradient_flows_through_the_predicted_detectors():
    kept, whole, task = build("LD-Keep"), build("MetaCloth"), double(toy_task())
    one = torch.autograd.grad(kept.meta_loss(task), list(kept.fenet.parameters()))
    other = torch.autograd.grad(whole.meta_loss(task), list(whole.fenet.parameters()))
    assert max((a - b).norm() / b.norm() for a, b in zip(one, other)) > 1e-2


def test_inner_loop_leaves_its_module_alone_and_takes_real_steps():
    base, task = toy_base(), toy_task()
    model = LandmarkModel(base.fenet.requires_grad_(True), torch.zeros(8, 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def loss(fast):
        return support_loss(fast(task.support.images), task.support)

    with torch.no_grad():  # as at meta-test
        fast = inner_loop(
            model, loss, steps=5, rates={"fenet": 0.1, "omega": 1.0}, second_order=False
        )
        assert loss(fast) < loss(model) - 0.01
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_inner_loop_moves_only_what_has_a_rate():
    model = LandmarkModel(toy_base().fenet.requires_grad_(True), torch.zeros(8, 4))
    task = toy_task()
    fast = inner_loop(
        model,
        lambda fast: support_loss(fast(task.support.images), task.support),
        steps=2,
        rates={"omega": 1.0},
        second_order=False,
    )
    assert fast.omega.abs().max() > 0
    assert torch.equal(detect(fast.fenet(task.query.images), model.omega), model(task.query.images))
    heads = [(p, q) for p, q in zip(model.fenet.parameters(), list(fast.values().values())[1:])]
    assert all(torch.equal(p, q) for p, q in heads)


def test_batch_norms_statistics_are_not_changed():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = 5 + torch.randn(8, 4)
    fast = inner_loop(
        model, lambda fast: fast(inputs)[:, 0].exp().mean(), steps=2, rates=0.1, second_order=True
    )
    copied = copy.deepcopy(inner_loop(model, lambda _: 0, steps=0, rates=1, second_order=False))
    assert not torch.allclose(fast(inputs), copied(inputs), atol=1e-3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("flat", [False, True])
def test_an_adapted_module_stays_adapted_after_the_backward_sweep(flat):
    model, inputs = torch.nn.Linear(4, 1), torch.ones(2, 4)
    fast = inner_loop(
        model, lambda fast: fast(inputs).sum(), steps=2, rates=0.1, second_order=True, flat=flat
    )
    before = fast(inputs)
    before.square().sum().backward()
    assert torch.equal(fast(inputs), before) and not torch.allclose(model(inputs), before)
    with pytest.raises(AttributeError, match="forward"):
        fast.state_dict()


def test_inner_loop_refuses_names_that_the_module_does_not_have():
    model = LandmarkModel(toy_base().fenet, torch.zeros(8, 4))
    options = {"loss": lambda fast: fast.omega.sum(), "steps": 1, "second_order": False}
    with pytest.raises(ValueError, match="detectors"):
        inner_loop(model, rates={"detectors": 1.0}, **options)
    with pytest.raises(ValueError, match="Omega"):
        inner_loop(model, rates=1.0, start={"Omega": torch.zeros(8, 4)}, **options)


# ---------------------------------------------------------------------- the flat inner loop


@pytest.mark.parametrize("name", ["MetaCloth", "LD-Keep", "MAML", "PROTO-MA", "PAML"])
def test_flat_gradients_are_the_unrolled_ones(name):
    model, task = build(name), double(toy_task())
    parameters, found = meta_parameters(model), []
    for flat in (False, True):
        model.settings = replace(model.settings, flat=flat, inner_steps=12)
        loss = model.meta_loss(task)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    assert found[0].norm() > 1e-2
    assert (found[1] - found[0]).norm() < 1e-10 * found[0].norm()


def test_flat_gradients_flow_through_a_start():
    task = double(toy_task())
    model = LandmarkModel(toy_base().fenet.requires_grad_(True), torch.randn(8, 4)).double()
    omega = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    parameters, found = [omega, *model.fenet.parameters()], []
    for flat in (False, True):
        fast = inner_loop(
            model,
            lambda fast: support_loss(fast(task.support.images), task.support),
            start={"omega": omega.square()},
            steps=4,
            rates={"fenet": 0.01, "omega": 0.1},
            second_order=True,
            flat=flat,
        )
        loss = query_loss(fast(task.query.images), task)
        found.append(torch.autograd.grad(loss, parameters))
    for unrolled_one, flat_one in zip(*found):
        torch.testing.assert_close(flat_one, unrolled_one, rtol=1e-10, atol=1e-12)


def test_a_flat_loop_draws_the_same_numbers_again():
    """Steps with dropout: recomputed from the same state of the generator, which then goes on."""
    model, found = torch.nn.Linear(20, 1).double(), []

    def loss(fast):
        noise = torch.nn.functional.dropout(torch.ones(5, 20, dtype=torch.float64))
        return fast(noise).square().mean()

    for flat in (False, True):
        torch.manual_seed(3)
        fast = inner_loop(model, loss, steps=3, rates=0.1, second_order=True, flat=flat)
        gradients = torch.autograd.grad(fast.weight.square().sum(), list(model.parameters()))
        found.append([*gradients, torch.rand(())])
    for unrolled_one, flat_one in zip(*found):
        torch.testing.assert_close(flat_one, unrolled_one, rtol=1e-10, atol=1e-12)


def test_a_flat_loop_refuses_a_loss_whose_gradient_it_would_lose():
    model, scale = torch.nn.Linear(4, 1), torch.ones((), requires_grad=True)
    options = {"steps": 2, "rates": 0.1, "second_order": True, "flat": True}
    with pytest.raises(ValueError, match="detach"):
        inner_loop(model, lambda fast: (scale * fast(torch.ones(2, 4))).sum(), **options)
    inner_loop(model, lambda fast: (scale.detach() * fast(torch.ones(2, 4))).sum(), **options)


class Kept:
    """A tensor that autograd keeps for the backward sweep."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_a_flat_loop_keeps_parameters_alone():
    """What autograd holds between the sweeps does not grow with the work of a step."""
    model, task = (
        LandmarkModel(toy_base().fenet.requires_grad_(True), torch.randn(8, 4)),
        toy_task(),
    )
    parameters = sum(p.numel() for p in model.parameters())
    kept = {}
    for flat in (False, True):
        held = []

        def pack(tensor):
            kept_one = Kept(tensor)
            held.append(weakref.ref(kept_one))
            return kept_one

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept_one: kept_one.tensor):
            fast = inner_loop(
                model,
                lambda fast: support_loss(fast(task.support.images), task.support),
                steps=6,
                rates=0.01,
                second_order=True,
                flat=flat,
            )
        alive = [kept_one().tensor.numel() for kept_one in held if kept_one() is not None]
        kept[flat] = sum(alive)
        del fast
    assert kept[True] == 6 * parameters < kept[False] / 3
