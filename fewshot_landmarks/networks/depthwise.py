"""Depthwise convolution whose gradients are depthwise convolutions, however often one differentiates.

torch differentiates a grouped convolution's gradient group by group: in a second-order task of
EfficientNet eleven thousand small convolutions, three fifths of its time. <x * w, g> is linear in
the images x, in the filters w and in g; its derivative by one of them is a convolution of the two
others, and is differentiated by either of these with what comes backward in the first one's place.
"""

import torch
from torch.autograd import Function

IMAGES, FILTERS, OUTWARD = range(3)  # x, w and g


def depthwise(
    images: torch.Tensor, filters: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """Each channel of images (B, C, H, W) with its own of the filters (C, 1, k, k)."""
    kind = images.device.type
    if torch.is_autocast_enabled(kind):
        lower = torch.get_autocast_dtype(kind)
        images, filters = images.to(lower), filters.to(lower)
    return _Derivative.apply(OUTWARD, stride, padding, images, filters, None)


class _Derivative(Function):
    """d <x * w, g> by x, w or g, which is x * w; of that one itself only the shape matters."""

    @staticmethod
    def forward(by, stride, padding, images, filters, outward):
        groups = len(filters)
        if by == OUTWARD:
            return torch.conv2d(images, filters, None, stride, padding, 1, groups)
        wanted = [by == IMAGES, by == FILTERS, False]
        steps, edges = [stride] * 2, [padding] * 2
        return torch.ops.aten.convolution_backward(
            outward, images, filters, None, steps, edges, [1, 1], False, [0, 0], groups, wanted
        )[by]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.by, ctx.stride, ctx.padding, *factors = inputs
        factors[ctx.by] = None  # another takes its place
        ctx.save_for_backward(*factors)

    @staticmethod
    def backward(ctx, given):
        factors = list(ctx.saved_tensors)
        factors[ctx.by] = given
        needed = ctx.needs_input_grad[-3:]
        derivatives = (
            _Derivative.apply(by, ctx.stride, ctx.padding, *factors)
            if needed[by] and by != ctx.by
            else None
            for by in (IMAGES, FILTERS, OUTWARD)
        )
        return None, None, None, *derivatives
