"""A training that was killed goes on and ends in the same bytes as an unbroken one."""

import pytest
import torch

from fewshot_landmarks.heatmaps import detect, labelmaps, landmark_features, query_loss
from fewshot_landmarks.learner import Learner
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import Training
from tests.toy import toy_base, toy_task, toy_tasks


class Killed(Exception):
    pass


def train(checkpoint=None, dies_at=None, count=8, base=None, **options):
    base = base or toy_base().requires_grad_(True)
    training = Training(toy_tasks(), seed=3, checkpoint=checkpoint, every=0.0, **options)
    for number, task in enumerate(training.tasks((base, 1e-3), count=count, decay=(0.5,))):
        noise = torch.randn(()) * 0.01  # a learner may draw: it must draw the same again
        loss = base.loss(task.query) * (1 + noise)
        training.add(loss)
        if number == dies_at:
            raise Killed
    return training, base


def test_killed_and_resumed_is_the_same(tmp_path):
    whole, expected = train()
    path = tmp_path / "state.safetensors"
    for dies_at in (2, 3):  # two interruptions: at the third step, then at the sixth
        with pytest.raises(Killed):
            train(path, dies_at)
    resumed, found = train(path)
    assert resumed.losses == whole.losses and len(whole.losses) == 8
    for one, other in zip(found.parameters(), expected.parameters()):
        assert torch.equal(one, other)
    fewer, _ = train(path)
    assert fewer.losses[:-1] == whole.losses[:-1]


@pytest.mark.parametrize("loaders", [1, 3])
def test_reading_ahead_changes_nothing(tmp_path, loaders):
    whole, expected = train()
    with pytest.raises(Killed):
        train(tmp_path / "state.safetensors", dies_at=2, loaders=loaders)
    ahead, found = train(tmp_path / "state.safetensors", loaders=loaders)
    assert ahead.losses == whole.losses
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


def test_rates_fall_when_they_should():
    base = toy_base().requires_grad_(True)
    training = Training(toy_tasks(), seed=3)
    rates = []
    heads = [base.omega]
    for task in training.tasks((base.fenet, 1.0), (heads, 0.5), count=4, decay=(0.5, 0.75)):
        groups = training._optimiser.param_groups
        rates.append(tuple(group["lr"] for group in groups))
        training.add(0 * base.loss(task.query))
    assert rates[0] == rates[1] == (1.0, 0.5)
    assert rates[2] == pytest.approx((0.1, 0.05)) and rates[3] == pytest.approx((0.01, 0.005))


def test_batches_cover_an_epoch_once_and_change_order():
    base = toy_base().requires_grad_(True)
    training = Training(toy_tasks(), seed=0)
    seen = []
    for samples in training.batches((base, 1e-3), epochs=2, batch=4):
        seen.append(samples.indices.tolist())
        training.add(base.loss(samples))
    first, second = seen[:6], seen[6:]
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(24))
    assert first != second


def test_batches_in_pieces_take_the_same_steps():
    found = []
    for micro_batch in (0, 2):
        base = toy_base().requires_grad_(True)
        training = Training(toy_tasks(), seed=0)
        options = {"epochs": 1, "batch": 5, "rate": 1e-3, "micro_batch": micro_batch}
        base.fit(training, **options, optimiser="sgd")
        assert len(training.losses) == 4
        found.append([*base.parameters(), torch.tensor(training.losses)])
    for whole, pieces in zip(*found):
        torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)


def test_base_model_learns_seen_landmarks():
    base = toy_base((9,)).requires_grad_(True)
    tasks = toy_tasks((9,), num_tasks=-1)
    before = base.loss(toy_task(9, hidden=0.0).query).item()
    base.fit(Training(tasks), epochs=30, batch=6, rate=1e-2)
    assert base.loss(toy_task(9, hidden=0.0).query).item() < before - 0.5


class Stages(Learner):
    """A map is learnt, then one after it, whose first weights are drawn, then both together."""

    name = "STAGES"

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.map = torch.nn.Sequential(
            torch.nn.Conv2d(base.channels, base.channels, 1), torch.nn.BatchNorm2d(base.channels)
        )

    def fit(self, training):
        training.minimise(self.loss, (self.map, 1e-2), count=4)
        with torch.no_grad():
            self.map[0].weight *= 2  # what is done between two stages is done once
        self.second = torch.nn.Conv2d(self.base.channels, self.base.channels, 1)
        for task in training.tasks((self.second, 1e-2), count=4):
            training.add(self.loss(task) * (1 + 0.1 * torch.rand(())))
        both = [*self.map.parameters(), *self.second.parameters()]
        training.minimise(self.loss, (both, 1e-2), count=4, decay=(0.5,))

    def loss(self, task):
        return query_loss(self.adapt(task.support)(task.query.images), task)

    def adapt(self, support):
        features = self.features(support.images)
        maps = labelmaps(support.landmarks, support.size, features.shape[-2:])
        points = landmark_features(features, maps, support.labelled)
        return lambda images: 20 * detect(self.features(images), points)

    def features(self, images):
        features = self.map(self.base.fenet(images))
        return self.second(features) if hasattr(self, "second") else features


def fit_stages(checkpoint=None, dies_after=None):
    torch.manual_seed(1)
    learner = Stages(toy_base(), Stages.Settings())
    training = Training(toy_tasks(), seed=3, checkpoint=checkpoint, every=0.0)
    losses, add = [], training.add

    def count(loss, weight=1.0):
        add(loss, weight)
        losses.append(loss)
        if len(losses) == dies_after:
            raise Killed

    training.add = count
    learner.fit(training)
    return training.losses, learner.state_dict()


@pytest.mark.parametrize("deaths", [(3,), (6,), (10,), (3, 3, 3, 3, 3), (5, 5)])
def test_a_learner_of_several_stages_killed_in_any_is_the_same(tmp_path, deaths):
    losses, expected = fit_stages()
    for steps in deaths:
        with pytest.raises(Killed):
            fit_stages(tmp_path / "state.safetensors", dies_after=steps)
    found_losses, found = fit_stages(tmp_path / "state.safetensors")
    assert found_losses == losses and len(losses) == 12
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_loop_within_another_is_refused():
    base = toy_base().requires_grad_(True)
    training = Training(toy_tasks(), seed=3)
    with pytest.raises(UserError, match="within another"):
        for _ in training.tasks((base, 1e-3), count=2):
            training.minimise(lambda task: base.loss(task.query), (base, 1e-3), count=2)
