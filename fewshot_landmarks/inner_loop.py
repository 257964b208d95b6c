"""The inner loop: gradient steps on the support set, differentiable by `higher`.

Two ways to the same second-order gradient. Unrolled, the graph of every step is kept until the
backward sweep: memory grows with every step. Flat, only each step's parameters are kept, and the
backward sweep computes each step once more: memory of one step, for one more forward and backward
pass a step.
"""

import functools
import inspect
from collections.abc import Callable, Container, Iterable, Mapping

import higher
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import get_device_states, set_device_states


class Adapted:
    """A module with other values in place of its parameters, called like the module.

    Its parameters and submodules are read by name; its other methods are not to be had, for they
    would use the module's own parameters. The module is not changed, nor are its buffers.
    (`higher` has this too, as a class made for each submodule at each call, which is slower.)
    """

    def __init__(self, module: nn.Module, values: Mapping[str, torch.Tensor]):
        self._module = module
        self._values = dict(values)
        self._buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def __call__(self, *arguments, **options):
        return functional_call(self._module, {**self._values, **self._buffers}, arguments, options)

    def __getattr__(self, name: str):
        """A parameter's value, a submodule with its values, or any other attribute."""
        if name.startswith("__"):  # copying asks before there are any values
            raise AttributeError(name)
        if name in self._values:
            return self._values[name]
        found = getattr(self._module, name)
        if inspect.ismethod(found):
            raise AttributeError(f"{name}: only the forward pass uses adapted parameters")
        if isinstance(found, nn.Module):
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in self._values.items()
                if key.startswith(f"{name}.")
            }
            return Adapted(found, own)
        return found

    def values(self) -> dict[str, torch.Tensor]:
        """The values by name, in the module's order."""
        return self._values

    def holding(self, values: Iterable[torch.Tensor]) -> "Adapted":
        """The same module with other values, in the module's order."""
        return Adapted(self._module, dict(zip(self._values, values, strict=True)))


def inner_loop(
    module: nn.Module,
    loss: Callable[[Adapted], torch.Tensor],
    *,
    steps: int,
    rates: float | Mapping[str, float],
    second_order: bool,
    start: Mapping[str, torch.Tensor] | None = None,
    flat: bool = False,
) -> Adapted:
    """`module` after gradient descent on `loss`: theta' <- theta - beta1 grad loss (eq. 1).

    Args:
        module: the initialisation. It is not changed.
        loss: a scalar of the module with its parameters so far. With `flat` it is called twice for
            each step and must not depend on other tensors that need a gradient.
        steps: number of gradient steps; with 0 the module comes back with its starting values.
        rates: the learning rate; or one for each parameter, by the first part of its name, where
            parameters that no rate names stay as they are.
        second_order: keep what it takes to differentiate a loss of the result with respect to the
            initialisation, through all steps.
        start: values to start from in place of parameters of these names; they may carry a graph
            of their own, through which gradients flow too (PROTO-MA).
        flat: with `second_order`, recompute steps in the backward sweep instead of keeping their
            graphs. The gradient is the same.
    Raises `ValueError` for a name in `rates` or `start` that the module does not have, and with
    `flat` for a loss whose gradient would be lost.

    Returns:
        The module with the adapted parameters.
    """
    with torch.enable_grad():
        # Views: a step's gradient is not to reach theta through a start that depends on it.
        values = {name: value.view_as(value) for name, value in module.named_parameters()}
        _known(start or {}, values)
        values.update(start or {})
        if not second_order:
            values = {name: value.detach().requires_grad_() for name, value in values.items()}
        fast = Adapted(module, values)
        found, descend = list(values.values()), _Descent(fast, loss, rates)
        for number in range(steps):
            if second_order and flat:
                step = functools.partial(descend, checked=number > 0)
                found = list(_Step.apply(step, *found))
            else:
                found = descend(found, differentiable=second_order)
    return fast.holding(found)


def _known(names: Iterable[str], known: Container[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"the module has no parameters {', '.join(strange)}")


# ---------------------------------------------------------------------- a step


class _Descent:
    """A step of gradient descent as a pure function of the parameters."""

    def __init__(self, fast: Adapted, loss, rates: float | Mapping[str, float]):
        self._fast = fast
        self._loss = loss
        # `higher` copies the optimiser with its parameters: empty ones in place of the network's.
        stand_ins = {name: torch.empty(0).requires_grad_() for name in fast.values()}
        made = torch.optim.SGD(_groups(stand_ins, rates), lr=1.0)
        self._optimiser = functools.cache(
            lambda differentiable: higher.optim.get_diff_optim(
                made, list(stand_ins.values()), track_higher_grads=differentiable
            )
        )

    def __call__(
        self, values: list[torch.Tensor], differentiable: bool, checked: bool = True
    ) -> list[torch.Tensor]:
        loss = self._loss(self._fast.holding(values))
        if not checked:
            _no_strangers(loss, values)
        return list(self._optimiser(differentiable).step(loss, params=values))


def _groups(
    parameters: Mapping[str, torch.Tensor], rates: float | Mapping[str, float]
) -> list[dict]:
    if not isinstance(rates, Mapping):
        return [{"params": list(parameters.values()), "lr": rates}]
    _known(rates, {name.split(".", 1)[0] for name in parameters})
    return [
        {
            "params": [p for name, p in parameters.items() if name.split(".", 1)[0] == part],
            "lr": rate,
        }
        for part, rate in rates.items()
    ]


# ---------------------------------------------------------------------- the flat loop


class _Step(torch.autograd.Function):
    """A gradient step that keeps its parameters alone; its graph is made in the backward sweep."""

    @staticmethod
    def forward(ctx, step: Callable, *values):
        ctx.step = step
        ctx.random = torch.get_rng_state(), *get_device_states(*values)
        ctx.save_for_backward(*values)
        ctx.set_materialize_grads(False)
        leaves = _leaves(values, ctx.needs_input_grad[1:])
        with torch.enable_grad():
            return tuple(result.detach() for result in step(leaves, differentiable=False))

    @staticmethod
    def backward(ctx, *wanted):
        cpu, devices, states = ctx.random
        leaves = _leaves(ctx.saved_tensors, ctx.needs_input_grad[1:])
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.set_rng_state(cpu)
            set_device_states(devices, states)
            results = ctx.step(leaves, differentiable=True)
        ends = [
            (result, w)
            for result, w in zip(results, wanted)
            if w is not None and result.requires_grad
        ]
        starts = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(_gradients(ends, starts))
        return None, *(next(found) if leaf.requires_grad else None for leaf in leaves)


def _gradients(ends, starts) -> Iterable[torch.Tensor | None]:
    if not ends:
        return [None for _ in starts]
    results, wanted = zip(*ends)
    return torch.autograd.grad(results, starts, wanted, allow_unused=True)


def _leaves(tensors, needed) -> list[torch.Tensor]:
    return [t.detach().requires_grad_(need) for t, need in zip(tensors, needed)]


def _no_strangers(loss: torch.Tensor, values: list[torch.Tensor]) -> None:
    """Raise `ValueError` if the loss depends on tensors with gradients beside the parameters."""
    own = {id(value) for value in values}
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable") and id(node.variable) not in own:
            raise ValueError(
                "a flat inner loop cannot send gradients to a tensor of shape "
                f"{tuple(node.variable.shape)} that the loss uses beside the module: "
                "detach it, make it a parameter of the module, or unroll the loop"
            )
        waiting += [following for following, _ in node.next_functions]
