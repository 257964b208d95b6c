"""Ways to MAML's second-order gradient: this project's, and those of other libraries.

Each does gradient steps on the support loss from a model's parameters and leaves the gradient of
the query loss of the result, with respect to the parameters that it began with, in their `grad`.
"""

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.networks import efficientnet

RATE = 0.01
Loss = Callable[[Any], torch.Tensor]  # of a model, or of what is called like one


def ours(model: nn.Module, support: Loss, query: Loss, steps: int, flat: bool) -> None:
    """This project's inner loop, on `higher`."""
    tuned = inner_loop(model, support, steps=steps, rates=RATE, second_order=True, flat=flat)
    query(tuned).backward()


def grouped(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """Ours, with torch's own depthwise convolution."""

    def depthwise(images, filters, stride, padding):
        return F.conv2d(images, filters, None, stride, padding, groups=len(filters))

    with mock.patch.object(efficientnet, "depthwise", depthwise):
        ours(model, support, query, steps, flat=False)


def learn2learn(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """learn2learn's MAML wrapper."""
    from learn2learn.algorithms import MAML

    tuned = MAML(model, lr=RATE).clone()
    for _ in range(steps):
        tuned.adapt(support(tuned))
    query(tuned).backward()


def torchopt(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """TorchOpt's differentiable SGD."""
    import torchopt

    start = torchopt.extract_state_dict(model, by="reference")
    optimiser = torchopt.MetaSGD(model, lr=RATE)
    for _ in range(steps):
        optimiser.step(support(model))
    query(model).backward()
    torchopt.recover_state_dict(model, start)


def torch_func(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """torch.func alone."""
    start = dict(model.named_parameters())

    def loss_of(loss: Loss, values: dict) -> torch.Tensor:
        return loss(functools.partial(torch.func.functional_call, model, values))

    def adapted(values: dict) -> torch.Tensor:
        for _ in range(steps):
            gradients = torch.func.grad(functools.partial(loss_of, support))(values)
            values = {name: value - RATE * gradients[name] for name, value in values.items()}
        return loss_of(query, values)

    for name, gradient in torch.func.grad(adapted)(start).items():
        start[name].grad = gradient


WAYS: dict[str, Callable] = {
    "ours, unrolled": functools.partial(ours, flat=False),
    "ours, flat": functools.partial(ours, flat=True),
    "learn2learn": learn2learn,
    "TorchOpt": torchopt,
    "torch.func": torch_func,
    "ours, unrolled, torch's depthwise": grouped,
    "ours, flat, channels last": functools.partial(ours, flat=True),
    "ours, flat, channels last, bfloat16": functools.partial(ours, flat=True),
}
ARITHMETIC: dict[str, dict] = {  # of the network, for ways that do not take it as it is
    "ours, flat, channels last": {"channels_last": True},
    "ours, flat, channels last, bfloat16": {"channels_last": True, "precision": "bfloat16"},
}
