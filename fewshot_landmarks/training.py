"""What a learner is handed to be trained: tasks, optimiser steps, and resuming.

The state of a training is the parameters, the optimiser's state and the number of the step; what
a step sees is drawn from the seed and that number. So a training that was killed and goes on from
its last checkpoint ends in the same bytes as an unbroken one.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from fewshot_landmarks.draws import permutation, raw_stream
from fewshot_landmarks.files import write_bytes
from fewshot_landmarks.tasks import LandmarkTasks, Samples, Task, collate

OPTIMISERS = {
    "adam": torch.optim.Adam,
    "sgd": functools.partial(torch.optim.SGD, lr=0.0, momentum=0.9),
}


class Training:
    """One stage of training.

    Args:
        tasks: tasks of seen categories, of any length; their data set also serves batches.
        seed: of the order of batches and of whatever the learner draws.
        device: where tasks are put.
        checkpoint: file for the state of an unfinished training; None keeps none.
        every: seconds between checkpoints.
        report: called with the share of the stage that is done, 0 to 1.
    """

    def __init__(
        self,
        tasks: LandmarkTasks,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        checkpoint: Path | None = None,
        every: float = 30.0,
        report: Callable[[float], None] | None = None,
    ):
        self._tasks = tasks
        self._seed = seed
        self._device = device
        self._checkpoint = checkpoint
        self._every = every
        self._report = report or (lambda share: None)
        self._optimiser: torch.optim.Optimizer | None = None
        self.losses: list[float] = []

    def tasks(self, *rates: tuple, count: int, decay: tuple[float, ...] = ()) -> Iterator[Task]:
        """`count` tasks, one a step; `step` moves the parameters that `rates` name.

        rates: pairs of a module (or a list of parameters) and its rate; decay: the shares of the
        training after which the rates fall by 10.
        """
        for number in self._steps(rates, count, decay):
            yield self._tasks[number].to(self._device)

    def batches(
        self,
        *rates: tuple,
        epochs: int,
        batch: int,
        decay: tuple[float, ...] = (),
        optimiser: str = "adam",
    ) -> Iterator[Samples]:
        """Batches over all garments of the tasks' categories, in a new order each epoch.

        An epoch's last batch is left out if it is not full. optimiser: of `OPTIMISERS`.
        """
        garments = self._tasks.garments
        members = self._tasks.members()
        a_epoch = max(1, len(members) // batch)
        for number in self._steps(rates, epochs * a_epoch, decay, optimiser):
            epoch, position = divmod(number, a_epoch)
            order = permutation(len(members), self._seed, epoch)
            chosen = members[order[position * batch : (position + 1) * batch]]
            yield collate([garments[int(i)] for i in chosen]).to(self._device)

    def step(self, loss: torch.Tensor) -> None:
        """One step of the optimiser on a scalar loss."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.losses.append(loss.item())

    def _steps(
        self, rates: tuple, count: int, decay: tuple[float, ...], optimiser: str = "adam"
    ) -> Iterator[int]:
        groups = [{"params": _parameters(what), "lr": rate} for what, rate in rates]
        self._optimiser = OPTIMISERS[optimiser](groups)
        first = self._resume()
        saved = time.monotonic()
        for number in range(first, count):
            falls = sum(number >= share * count for share in decay)
            for group, (_, rate) in zip(self._optimiser.param_groups, rates):
                group["lr"] = rate * 0.1**falls
            torch.manual_seed(next(raw_stream(self._seed, number)) % 2**63)
            yield number
            self._report((number + 1) / count)
            if time.monotonic() - saved > self._every and number + 1 < count:
                self._save(number + 1)
                saved = time.monotonic()

    def _save(self, number: int) -> None:
        if self._checkpoint is None:
            return
        tensors = {}
        for g, i, p in self._numbered():
            tensors[f"{g}.{i}.value"] = p.data
            for name, value in self._optimiser.state.get(p, {}).items():
                tensors[f"{g}.{i}.{name}"] = value
        losses = json.dumps(self.losses)
        save_tensors(self._checkpoint, tensors, step=str(number), losses=losses)

    def _resume(self) -> int:
        """Take up the checkpoint, if there is one; the number of the next step."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return 0
        with safe_open(str(self._checkpoint), "pt") as file, torch.no_grad():
            for g, i, p in self._numbered():
                prefix = f"{g}.{i}."
                names = [key for key in file.keys() if key.startswith(prefix)]
                state = {key[len(prefix) :]: file.get_tensor(key) for key in names}
                p.copy_(state.pop("value"))
                if state:
                    self._optimiser.state[p] = {
                        name: value if name == "step" else value.to(p.device)
                        for name, value in state.items()
                    }
            metadata = file.metadata()
        self.losses = json.loads(metadata["losses"])
        return int(metadata["step"])

    def _numbered(self) -> Iterator[tuple[int, int, nn.Parameter]]:
        for g, group in enumerate(self._optimiser.param_groups):
            for i, parameter in enumerate(group["params"]):
                yield g, i, parameter


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> None:
    """Write tensors and strings as safetensors, whole or not at all."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(ready, metadata))


def _parameters(what) -> list[nn.Parameter]:
    listed = what.parameters() if isinstance(what, nn.Module) else what
    return [p for p in listed if p.requires_grad]
