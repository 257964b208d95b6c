"""The inner loop: gradient steps on the support set, differentiable by `higher`.

Memory grows with every step when `second_order` is on (the graph of each step is kept).
"""

from collections.abc import Callable, Container, Iterable, Mapping

import higher
import torch
from torch import nn


def inner_loop(
    module: nn.Module,
    loss: Callable[[nn.Module], torch.Tensor],
    *,
    steps: int,
    rates: float | Mapping[str, float],
    second_order: bool,
    start: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """`module` after gradient descent on `loss`: theta' <- theta - beta1 grad loss (eq. 1).

    Args:
        module: the initialisation. It is not changed.
        loss: a scalar of the module with its parameters so far.
        steps: number of gradient steps; with 0 the module comes back with its starting values.
        rates: the learning rate; or one for each parameter, by the first part of its name, where
            parameters that no rate names stay as they are.
        second_order: keep the graph, so that a loss of the result can be differentiated with
            respect to the initialisation, through all steps.
        start: values to start from in place of parameters of these names; they may carry a graph
            of their own, through which gradients flow too (PROTO-MA).

    Raises `ValueError` for a name in `rates` or `start` that the module does not have.

    Returns:
        A functional copy of the module with the adapted parameters.
    """
    with torch.enable_grad():
        # copy_initial_weights=True, higher's default, would cut the gradient to the initialisation.
        fast = higher.monkeypatch(
            module, copy_initial_weights=False, track_higher_grads=second_order
        )
        values = dict(zip((name for name, _ in module.named_parameters()), fast.fast_params))
        _known(start or {}, values)
        values.update(start or {})
        if not second_order:
            values = {name: value.detach().requires_grad_() for name, value in values.items()}
        fast.update_params(list(values.values()))
        optimiser = higher.optim.get_diff_optim(
            torch.optim.SGD(_groups(module, rates), lr=1.0),
            list(module.parameters()),
            fmodel=fast,
            track_higher_grads=second_order,
        )
        for _ in range(steps):
            optimiser.step(loss(fast))
    return fast


def _groups(module: nn.Module, rates: float | Mapping[str, float]) -> list[dict]:
    if not isinstance(rates, Mapping):
        return [{"params": list(module.parameters()), "lr": rates}]
    named = list(module.named_parameters())
    _known(rates, {name.split(".", 1)[0] for name, _ in named})
    return [
        {"params": [p for name, p in named if name.split(".", 1)[0] == part], "lr": rate}
        for part, rate in rates.items()
    ]


def _known(names: Iterable[str], known: Container[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"the module has no parameters {', '.join(strange)}")
