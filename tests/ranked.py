"""What the processes of `test_ranks` do: train a toy base model by batches, then by tasks."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from fewshot_landmarks.support.distributed import Ranks, join, leave
from fewshot_landmarks.training import Training, save_tensors
from tests.toy import double, toy_base, toy_tasks


class DoubleTasks:
    """Toy tasks in double precision."""

    def __getitem__(self, i):
        return double(toy_tasks()[i])


class Killed(Exception):
    pass


def train(
    ranks: Ranks, steps: bool = True, checkpoint: Path | None = None, dies_at: int = -1
) -> dict[str, torch.Tensor]:
    """Parameters and losses after both stages; `dies_at` a step of the second."""
    base = toy_base().requires_grad_(True).double()
    losses = []
    if steps:
        batches = Training(toy_tasks(), seed=3, ranks=ranks)
        for samples in batches.batches((base, 1e-3), epochs=2, batch=4, decay=(0.5,)):
            images, landmarks = samples.images.double(), samples.landmarks.double()
            loss = base.loss(replace(samples, images=images, landmarks=landmarks))
            batches.add(loss, weight=int(samples.labelled.sum()))
        kept = {"checkpoint": checkpoint, "every": 0.0}
        tasks = Training(DoubleTasks(), seed=3, ranks=ranks, together=3, **kept)
        for task in tasks.tasks((base.fenet, 1e-3), ([base.omega], 1e-2), count=8):
            if len(tasks.losses) == dies_at:
                raise Killed
            tasks.add(base.loss(task.query) * (1 + 0.1 * torch.randn(())))
        losses = [*batches.losses, *tasks.losses]
    return {**base.state_dict(), "losses": torch.tensor(losses, dtype=torch.float64)}


if __name__ == "__main__":
    these = join("cpu")
    to = Path(sys.argv[1])
    found = {"whole": train(these)}
    try:
        train(these, checkpoint=to.with_suffix(".unfinished"), dies_at=2)
    except Killed:
        these.gather(None)
    found["resumed"] = train(these, checkpoint=to.with_suffix(".unfinished"))
    if these.first:
        save_tensors(to, {f"{k} {n}": v for k, one in found.items() for n, v in one.items()})
    leave()
