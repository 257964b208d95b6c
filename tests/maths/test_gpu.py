"""Every learner on a GPU, where there is one: the same answers as on the CPU."""

import pytest
import torch

from fewshot_landmarks.evaluation import evaluate_episode
from fewshot_landmarks.learner import REGISTRY, heatmaps_of
from fewshot_landmarks.training import Training
from tests.maths.test_learners import build, short
from tests.toy import toy_task, toy_tasks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def heatmaps(name: str, device: str) -> torch.Tensor:
    """Of a learner that was fitted to two tasks, on a task of 39 landmarks."""
    model = build(name, **short(name)).to(device)
    model.fit(Training(toy_tasks(), device=device))
    task = toy_task(4, shots=3).to(device)
    assert evaluate_episode(model, task, 3).ne >= 0
    with torch.no_grad():
        return heatmaps_of(model.adapt(task.support), task.query).cpu()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_gpu_finds_what_the_cpu_finds(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # 10 bits of mantissa
    on_cpu = heatmaps(name, "cpu")
    torch.testing.assert_close(
        heatmaps(name, "cuda"), on_cpu, rtol=1e-3, atol=1e-3 * on_cpu.abs().max().item()
    )
