"""What a learner is handed to be trained: tasks, optimiser steps, and resuming.

The state of a training is the parameters, the optimiser's state and the number of the step; what
a step sees is drawn from the seed and that number. So a training that was killed and goes on from
its last checkpoint ends in the same bytes as an unbroken one. A learner may train in several
stages, one loop after the other: a checkpoint has the stage that it is of, and what those before
have made.

A step's tasks, or its batch, may be shared by several processes (`ranks`): their gradients are
added up before the optimiser moves, so that their number changes rounding alone.
"""

import functools
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from fewshot_landmarks.samples import Samples, Task, collate
from fewshot_landmarks.support.distributed import ALONE, Ranks
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, write_bytes
from fewshot_landmarks.support.rng import permutation, raw_stream

if TYPE_CHECKING:  # tasks need learn2learn, which is long in coming
    from fewshot_landmarks.tasks import LandmarkTasks

Material = TypeVar("Material", Task, Samples)

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": functools.partial(torch.optim.SGD, lr=0.0, momentum=0.9),
}


class Training:
    """The training of one model, in one stage or several.

    Args:
        tasks: tasks of seen categories, of any length; their data set also serves batches.
        seed: of the order of batches and of whatever the learner draws.
        device: where tasks are put.
        together: tasks a step, whose losses are averaged.
        loaders: threads that read tasks and batches ahead; with 0 they are read when needed.
        ranks: the processes that share each step.
        checkpoint: file for the state of an unfinished training; None keeps none. All processes
            must find it in the same place.
        every: seconds between checkpoints.
        report: called with the share of a stage that is done, 0 to 1.
    """

    def __init__(
        self,
        tasks: "LandmarkTasks",
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        together: int = 1,
        loaders: int = 0,
        ranks: Ranks = ALONE,
        checkpoint: Path | None = None,
        every: float = 30.0,
        report: Callable[[float], None] | None = None,
    ):
        if together < 1:
            raise UserError(f"a meta-batch of {together} tasks is impossible: choose 1 or more")
        self._tasks = tasks
        self._seed = seed
        self._device = device
        self._together = together
        self._loaders = loaders
        self._ranks = ranks
        self._checkpoint = checkpoint
        self._every = every
        self._report = report or (lambda share: None)
        self._optimiser: torch.optim.Optimizer  # of the stage
        self._buffers: list[torch.Tensor] = []  # of the modules that were trained so far
        self._stage, self._inside = -1, False
        self._ended: dict[str, torch.Tensor] = {}  # what earlier stages have made, by its name
        self._loss = self._weight = 0.0  # of the step so far: weighted losses, and their weights
        self.losses: list[float] = []  # of each step

    def tasks(self, *rates: tuple, count: int, decay: tuple[float, ...] = ()) -> Iterator[Task]:
        """`count` tasks; `add` is told the loss of each, to move the parameters in `rates`.

        rates: pairs of a module (or a list of parameters) and its rate; decay: the shares of the
        training after which the rates fall by 10.
        """

        def read(number: int) -> list[tuple[int, Task]]:
            first = number * self._together
            chosen = range(first, min(first + self._together, count))
            return [(task, self._tasks[task]) for task in self._ranks.share(chosen)]

        yield from self._steps(rates, math.ceil(count / self._together), decay, read)

    def minimise(
        self,
        loss: Callable[[Task], torch.Tensor],
        *rates: tuple,
        count: int,
        decay: tuple[float, ...] = (),
    ) -> None:
        """Descend on a loss of each of `count` tasks; see `tasks`."""
        for task in self.tasks(*rates, count=count, decay=decay):
            self.add(loss(task))

    def batches(
        self,
        *rates: tuple,
        epochs: int,
        batch: int,
        decay: tuple[float, ...] = (),
        optimiser: str = "adam",
        micro_batch: int = 0,
    ) -> Iterator[Samples]:
        """Batches over all garments of the tasks' categories, in a new order each epoch.

        An epoch's last batch is left out if it is not full. optimiser: of `OPTIMISERS`.
        micro_batch: yield a batch in pieces of so many garments, which takes less memory; a step
        is still the whole batch's, if each piece's weight in `add` is what its loss is a mean of.
        """
        garments = self._tasks.garments
        members = self._tasks.members()
        a_epoch = max(1, len(members) // batch)

        def read(number: int) -> list[tuple[int, Samples]]:
            epoch, position = divmod(number, a_epoch)
            order = permutation(len(members), self._seed, epoch)
            chosen = members[order[position * batch : (position + 1) * batch]]
            own = [garments[int(i)] for i in self._ranks.share(chosen)]
            size = micro_batch or batch
            return [(number, collate(own[i : i + size])) for i in range(0, len(own), size)]

        yield from self._steps(rates, epochs * a_epoch, decay, read, optimiser)

    def add(self, loss: torch.Tensor, weight: float = 1.0) -> None:
        """Add a scalar loss to the step's, on whose mean the optimiser then descends.

        weight: of this loss in the mean over the step's losses, which may be in other processes.
        """
        (loss * weight).backward()
        self._loss += loss.item() * weight
        self._weight += weight

    def _descend(self) -> None:
        """One step of the optimiser on the mean of the step's losses."""
        parameters = [parameter for *_, parameter in self._numbered()]
        loss, weight = self._loss, self._weight
        if self._ranks.count > 1:
            loss, weight = self._add_up(parameters, loss, weight)
        if weight == 0:  # nothing is labelled
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= weight
        self._optimiser.step()
        self.losses.append(loss / weight)

    def _add_up(self, parameters: list[nn.Parameter], *sums: float) -> list[float]:
        """Add up gradients and numbers over all processes."""
        known = torch.tensor([float(p.grad is not None) for p in parameters], device=self._device)
        total = torch.tensor(sums, dtype=torch.float64, device=self._device)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._ranks.add_up([known, *(parameter.grad for parameter in parameters)])
        self._ranks.add_up([total])
        for parameter, anywhere in zip(parameters, known.tolist()):
            if not anywhere:
                parameter.grad = None
        return total.tolist()

    def _seed_draws(self, number: int) -> None:
        """Seed whatever a learner draws, the same in whichever process it draws it."""
        torch.manual_seed(next(raw_stream(self._seed, number)) % 2**63)

    def _steps(
        self,
        rates: tuple,
        count: int,
        decay: tuple[float, ...],
        read: Callable[[int], list[tuple[int, Material]]],
        optimiser: str = "adam",
    ) -> Iterator[Material]:
        """What `read` finds for each step, each with its number as the seed of draws."""
        if self._inside:
            raise UserError("a loop of training begins within another: end one before the next")
        groups = [{"params": _parameters(what), "lr": rate} for what, rate in rates]
        modules = [what for what, _ in rates if isinstance(what, nn.Module)]
        self._optimiser = OPTIMISERS[optimiser](groups)
        known = {id(buffer) for buffer in self._buffers}
        buffers = [buffer for module in modules for buffer in module.buffers()]
        self._buffers += [buffer for buffer in buffers if id(buffer) not in known]
        self._stage, self._inside = self._stage + 1, True
        try:
            first = self._resume(count)
            saved = time.monotonic()
            numbers = range(first, count)
            for number, found in zip(numbers, self._ahead(read, numbers)):
                falls = sum(number >= share * count for share in decay)
                for group, (_, rate) in zip(self._optimiser.param_groups, rates):
                    group["lr"] = rate * 0.1**falls
                self._optimiser.zero_grad(set_to_none=True)
                self._loss = self._weight = 0.0
                for seed, material in found:
                    self._seed_draws(seed)
                    yield material.to(self._device)
                self._descend()
                self._report((number + 1) / count)
                if time.monotonic() - saved > self._every and number + 1 < count:
                    self._save(number + 1)
                    saved = time.monotonic()
        finally:
            self._inside = False
            self._seed_draws(count)  # what is drawn between two stages
            if self._checkpoint is not None:
                self._ended |= {name: value.clone() for name, value in self._values()}

    def _ahead(self, read: Callable, numbers: range) -> Iterator[list]:
        """`read` of each number, read some steps ahead by threads."""
        if not self._loaders:
            yield from map(read, numbers)
            return
        with ThreadPoolExecutor(self._loaders) as threads:
            waiting = deque(threads.submit(read, n) for n in numbers[: 2 * self._loaders])
            for number in numbers:
                yield waiting.popleft().result()
                if number + 2 * self._loaders < numbers.stop:
                    waiting.append(threads.submit(read, number + 2 * self._loaders))

    def _save(self, number: int) -> None:
        if self._checkpoint is None or not self._ranks.first:
            return
        tensors = self._ended | dict(self._values())
        for g, i, p in self._numbered():
            for name, value in self._optimiser.state.get(p, {}).items():
                tensors[f"{self._stage}.{g}.{i}.{name}"] = value
        about = {"stage": str(self._stage), "step": str(number), "losses": json.dumps(self.losses)}
        save_tensors(self._checkpoint, tensors, True, **about)

    def _resume(self, count: int) -> int:
        """Take up the checkpoint, if there is one; the number of the stage's next step."""
        there = self._checkpoint is not None and is_whole(self._checkpoint)
        if len(set(self._ranks.gather(there))) > 1:
            raise UserError(
                f"some processes do not see the checkpoint {self._checkpoint}: give an --out that "
                "is the same folder on all machines"
            )
        if not there:
            return 0
        with safe_open(str(self._checkpoint), "pt") as file, torch.no_grad():
            about = file.metadata()
            if int(about["stage"]) < self._stage:
                return 0
            for name, value in self._values():
                value.copy_(file.get_tensor(name))
            if int(about["stage"]) > self._stage:
                return count
            for g, i, p in self._numbered():
                prefix = f"{self._stage}.{g}.{i}."
                names = [key.removeprefix(prefix) for key in file.keys() if key.startswith(prefix)]
                state = {name: file.get_tensor(prefix + name) for name in names if name != "value"}
                if state:
                    self._optimiser.state[p] = {
                        name: value if name == "step" else value.to(p.device)
                        for name, value in state.items()
                    }
        self.losses = json.loads(about["losses"])
        return int(about["step"])

    def _values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What training has changed, by a name that no other stage has."""
        for g, i, parameter in self._numbered():
            yield f"{self._stage}.{g}.{i}.value", parameter.data
        for i, buffer in enumerate(self._buffers):
            yield f"{self._stage}.buffer.{i}", buffer

    def _numbered(self) -> Iterator[tuple[int, int, nn.Parameter]]:
        for g, group in enumerate(self._optimiser.param_groups):
            for i, parameter in enumerate(group["params"]):
                yield g, i, parameter


def save_tensors(
    path: Path, tensors: dict[str, torch.Tensor], summed: bool = False, **metadata: str
) -> None:
    """Write tensors and strings as safetensors, whole or not at all; summed: see `is_whole`."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(ready, metadata), summed)


def _parameters(what) -> list[nn.Parameter]:
    listed = what.parameters() if isinstance(what, nn.Module) else what
    return [p for p in listed if p.requires_grad]
