"""A training that was killed goes on and ends in the same bytes as an unbroken one."""

import pytest
import torch

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
        training.step(loss)
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
        training.step(0 * base.loss(task.query))
    assert rates[0] == rates[1] == (1.0, 0.5)
    assert rates[2] == pytest.approx((0.1, 0.05)) and rates[3] == pytest.approx((0.01, 0.005))


def test_batches_cover_an_epoch_once_and_change_order():
    base = toy_base().requires_grad_(True)
    training = Training(toy_tasks(), seed=0)
    seen = []
    for samples in training.batches((base, 1e-3), epochs=2, batch=4):
        seen.append(samples.indices.tolist())
        training.step(base.loss(samples))
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
