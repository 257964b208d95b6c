import pytest
import torch
from torch import nn

from fewshot_landmarks.networks.depthwise import depthwise
from fewshot_landmarks.networks.efficientnet import _Convolution

SHAPES = [(3, 1, 1, 6), (5, 1, 2, 5), (3, 2, 0, 7), (5, 2, 1, 8)]  # kernel, stride, padding, side


def _made(kernel: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(kernel * side)
    images = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    return images, filters


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), SHAPES)
def test_depthwise_is_torchs_grouped_convolution_three_derivatives_deep(
    kernel, stride, padding, side
):
    inputs = _made(kernel, side)
    grouped = torch.nn.functional.conv2d(*inputs, None, stride, padding, groups=3)
    ours = depthwise(*inputs, stride, padding)
    torch.testing.assert_close(ours, grouped)
    for _ in range(3):
        found, wanted = (
            torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
            for value in (ours, grouped)
        )
        torch.testing.assert_close(found, wanted)
        ours, grouped = (torch.cat([g.flatten() for g in each]) for each in (found, wanted))


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), SHAPES)
def test_depthwise_against_finite_differences(kernel, stride, padding, side):
    inputs = _made(kernel, side)
    assert torch.autograd.gradcheck(lambda *x: depthwise(*x, stride, padding), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: depthwise(*x, stride, padding), inputs)


def test_depthwise_is_differentiated_by_torch_func():
    images, filters = (each.detach() for each in _made(3, 6))

    def loss(filters):
        return depthwise(images, filters, 1, 1).sin().sum()

    def slope(filters):
        return torch.func.grad(loss)(filters).square().sum()

    found = torch.func.grad(slope)(filters)
    filters.requires_grad_()
    gradient = torch.autograd.grad(loss(filters), filters, create_graph=True)[0]
    torch.testing.assert_close(found, torch.autograd.grad(gradient.square().sum(), filters)[0])


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
def test_frozen_batch_norm_is_part_of_the_convolution(kernel, stride, groups):
    """As torch's own modules, padded by hand, have it, its gradients too."""
    torch.manual_seed(0)
    ours = _Convolution(4, 4, kernel, stride, groups).double()
    norm = ours.norm
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(4, dtype=torch.float64) + 0.5)
    missing = max(kernel - stride, 0)
    pad = nn.ZeroPad2d((missing // 2, missing - missing // 2) * 2)
    images = torch.rand(2, 4, 8, 8, dtype=torch.float64)
    wanted = norm.eval()(ours.convolution(pad(images)))
    parameters, mean = list(ours.parameters()), norm.running_mean.clone()
    found = ours.train()(images)  # frozen in training too
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), parameters),
        torch.autograd.grad(wanted.sin().sum(), parameters),
    )
    assert torch.equal(norm.running_mean, mean)
