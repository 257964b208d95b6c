"""The feature extractor of the small presets."""

import torch
from torch import nn

from fewshot_landmarks.networks.fenet import FENet, block, double


class SmallFENet(FENet):
    """A small U-Net of stride 2.

    Group norm, which keeps no running statistics, so that the inner loop has nothing to freeze.
    Channels last is a fifth faster on a CPU.
    """

    stride = 2
    multiple = 16

    def __init__(
        self,
        channels: int = 32,
        width: int = 16,
        precision: str = "float32",
        channels_last: bool = True,
    ):
        super().__init__(channels, precision, channels_last)
        self.stem = nn.Sequential(block(3, width, 2), block(width, width))
        self.down1 = nn.Sequential(block(width, 2 * width, 2), block(2 * width, 2 * width))
        self.down2 = nn.Sequential(block(2 * width, 3 * width, 2), block(3 * width, 3 * width))
        self.down3 = nn.Sequential(block(3 * width, 3 * width, 2), block(3 * width, 3 * width))
        self.up2 = block(6 * width, 3 * width)
        self.up1 = block(5 * width, 2 * width)
        self.up0 = block(3 * width, channels)
        self.head = nn.Conv2d(channels, channels, 1)
        self.lay_out()

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        half = self.stem(images - 0.5)
        quarter = self.down1(half)
        eighth = self.down2(quarter)
        deep = self.down3(eighth)
        deep = self.up2(torch.cat([double(deep), eighth], 1))
        deep = self.up1(torch.cat([double(deep), quarter], 1))
        deep = self.up0(torch.cat([double(deep), half], 1))
        return self.head(deep)
