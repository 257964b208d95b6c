"""A feature extractor whose lower layers are ImageNet's and stay, and whose neck adapts."""

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.networks.fenet import ChannelNorm, FENet, block
from fewshot_landmarks.networks.memo import Memo
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.support.errors import UserError

KEPT = 2**28  # bytes of maps in memory
PLACE = 4  # channels that say where a cell lies


class PyramidFENet(FENet):
    """A feature pyramid on the maps of a network of timm's, none of whose layers is trained; stride 4.

    Each map, of length one in every cell times the root of its channels, is brought to `width`
    channels by a convolution of 1 x 1, and they are added up from the deepest to the finest (Lin et
    al., "Feature pyramid networks for object detection", CVPR 2017). A convolution of 3 x 3 and one
    of 1 x 1 follow. The last four channels say where in the crop a cell lies (see `PlacedNorm`).

    The maps of an image are computed once, whichever copy of this network asks (`remember`). They
    are in half precision. name, weights: see `TimmFENet`. Raises `UserError` as that does, for too
    few channels, and for a network without maps of stride 4.
    """

    stride = 4
    multiple = 32
    pretrained = True

    def __init__(
        self,
        channels: int = 64,
        width: int = 64,
        name: str = "tf_efficientnet_lite0",
        weights: str | None = "package",
        precision: str = "float32",
        channels_last: bool = True,
    ):
        super().__init__(channels, precision, channels_last)
        if channels <= PLACE:
            raise UserError(
                f"{channels} channels: network pyramid needs more than {PLACE}, which say where "
                "a cell lies"
            )
        network = TimmFENet(name, weights, channels_last=channels_last)
        if network.stride != self.stride:
            raise UserError(
                f"network {name} has no maps of stride {self.stride}, its finest has "
                f"{network.stride}: choose another"
            )
        self._frozen = _Frozen(network)
        self.sides = nn.ModuleList(
            nn.Conv2d(maps, width, 1) for maps in self._frozen.network.widths
        )
        self.merged = nn.Sequential(nn.GroupNorm(max(1, width // 8), width), nn.ReLU())
        self.mixed = block(width, width)
        self.head = nn.Conv2d(width, channels - PLACE, 1)
        self.norm = PlacedNorm()
        self.lay_out()

    @property
    def fingerprint(self) -> str:
        """Hex digest of the layers that are not trained, which its parameters do not hold."""
        return self._frozen.network.fingerprint

    def remember(self, files: Iterable[Path]) -> None:
        """Read maps of images from files of `Memo` instead of computing them."""
        self._frozen.memo.read(files)

    def store(self, path: Path, images: Sequence[torch.Tensor]) -> None:
        """Write such a file, of images (3, S, S)."""
        self._frozen.memo.write(path, images)

    def frozen_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images (B, 3, S, S) to what the layers that are not trained make of them, finest first:
        (B, C, h, w) each, of a squared length of C in the cells."""
        return self._frozen.maps(images)

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.frozen_maps(images)
        sides = [side(each) for side, each in zip(self.sides, maps, strict=True)]
        merged = sides[-1]
        for side in reversed(sides[:-1]):
            merged = side + F.interpolate(merged, side.shape[-2:], mode="nearest")
        return self.head(self.mixed(self.merged(merged)))


class PlacedNorm(ChannelNorm):
    """Layer norm over the channels of each cell, and four channels more that say where it lies.

    They are the cosine and the sine of pi x and of pi y, x and y being 0 to 1 across the crop. A
    detector's logit on them is k cos(pi (x - x')) and the same of y: the log of a von Mises density
    around a place that the detector chooses, as narrow as it likes. Prototypes and detectors that
    are tuned so learn where a landmark lies, too; convolutions padded with zeros know it dimly (see
    docs/decisions.md).

    The features of every cell have the same squared length, the number of channels. A share of it
    is the place's, which the base model learns.
    """

    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.7).logit())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = super().forward(features)
        b, c, h, w = features.shape
        x, y = (torch.pi * (torch.arange(n).to(features) + 0.5) / n for n in (w, h))
        x, y = x.expand(h, w), y.unsqueeze(1).expand(h, w)
        place = torch.stack([x.cos(), x.sin(), y.cos(), y.sin()]).expand(b, -1, -1, -1)
        share, channels = self.share.sigmoid(), c + PLACE
        look = ((1 - share) * channels / c).sqrt() * features
        return torch.cat([look, (share * channels / 2).sqrt() * place], 1)


class _Frozen:
    """The layers that are not trained, and what they made of images: shared by all copies."""

    def __init__(self, network: TimmFENet):
        self.network = network.eval()
        self.memo = Memo(self._flat, KEPT)

    def __deepcopy__(self, memo: dict) -> "_Frozen":
        return self

    def _flat(self, images: torch.Tensor) -> torch.Tensor:
        self.network.to(images.device)
        return torch.cat([each.flatten(1) for each in self.network.maps(images)], 1).half()

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The maps of images, finest first, each (B, C, h, w)."""
        shapes = self.network.shapes(images.shape[-2:])
        with torch.autocast(
            images.device.type, enabled=False
        ):  # they are the same at any precision
            flat = self.memo(images)
        parts = flat.split([prod(shape) for shape in shapes], 1)
        found = [part.to(images).unflatten(1, shape) for part, shape in zip(parts, shapes)]
        return [F.normalize(each, dim=1) * each.shape[1] ** 0.5 for each in found]
