"""The networks that learners share: feature extractors, detectors, a memo of frozen features."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from fewshot_landmarks.errors import UserError
from fewshot_landmarks.heatmaps import detect


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell, without affine parameters.

    One output form for all learners. The features of every cell then have the same length, so a
    squared distance to a prototype is a linear function of the features (see PROTO-MA).
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.ReLU(),
    )


PRECISIONS = ("float32", "bfloat16")


class FENet(nn.Module):
    """A feature extractor: images (B, 3, S, S) to features (B, C, S / stride, S / stride).

    Args:
        channels: C.
        precision: "bfloat16" computes convolutions with 16 bits (autocast); parameters, gradients
            and features stay as they are. "float32" leaves all as it is, whatever is around it.
        channels_last: keep a cell's channels together in memory.

    A subclass defines `stride`, `multiple` and `extract`, and calls `lay_out` when its layers are
    made.
    """

    stride: int
    multiple: int  # of which the side of a crop, S, has to be one

    def __init__(self, channels: int, precision: str, channels_last: bool):
        super().__init__()
        if precision not in PRECISIONS:
            raise UserError(f"unknown precision {precision!r}: choose one of {PRECISIONS}")
        self.channels = channels
        self.precision = precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.norm = ChannelNorm()

    def lay_out(self) -> None:
        """Put the parameters in the chosen layout."""
        self.to(memory_format=self.memory_format)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=self.memory_format)
        # Without the cache of cast parameters: each inner step has others.
        lower = self.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, lower, cache_enabled=False):
            features = self.extract(images)
        return self.norm(features.to(images.dtype))

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        """Features before the norm over channels."""
        raise NotImplementedError


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
        self.stem = nn.Sequential(_block(3, width, 2), _block(width, width))
        self.down1 = nn.Sequential(_block(width, 2 * width, 2), _block(2 * width, 2 * width))
        self.down2 = nn.Sequential(_block(2 * width, 3 * width, 2), _block(3 * width, 3 * width))
        self.down3 = nn.Sequential(_block(3 * width, 3 * width, 2), _block(3 * width, 3 * width))
        self.up2 = _block(6 * width, 3 * width)
        self.up1 = _block(5 * width, 2 * width)
        self.up0 = _block(3 * width, channels)
        self.head = nn.Conv2d(channels, channels, 1)
        self.lay_out()

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        half = self.stem(images - 0.5)
        quarter = self.down1(half)
        eighth = self.down2(quarter)
        deep = self.down3(eighth)
        deep = self.up2(torch.cat([_double(deep), eighth], 1))
        deep = self.up1(torch.cat([_double(deep), quarter], 1))
        deep = self.up0(torch.cat([_double(deep), half], 1))
        return self.head(deep)


def _double(features: torch.Tensor) -> torch.Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")


class ResNetFENet(FENet):
    """The paper's FENet (section 4.2): ResNet-50, ten convolutions, two deconvolutions; stride 8.

    Batch norm keeps the statistics of the backbone's weights: they are frozen, its affine
    parameters adapt.

    weights: a name of torchvision's ResNet50_Weights, a file of ResNet-50's weights (.safetensors,
    or torchvision's own .pth), or None. Raises `UserError` where they cannot be had.
    """

    stride = 8
    multiple = 32

    def __init__(
        self,
        channels: int = 512,
        weights: str | None = "IMAGENET1K_V1",
        precision: str = "float32",
        channels_last: bool = False,
    ):
        super().__init__(channels, precision, channels_last)
        from torchvision.models import ResNet50_Weights, resnet50

        named = weights in ResNet50_Weights.__members__
        try:
            backbone = resnet50(weights=weights if named else None)
        except OSError as error:
            raise UserError(
                f"cannot fetch ResNet-50's ImageNet weights ({error}): give --weights FILE, "
                "torchvision's file of them, or choose another preset"
            ) from None
        if weights and not named:
            _load_backbone(backbone, Path(weights))
        self.backbone = nn.Sequential(*list(backbone.children())[:-2])
        widths = [2048] + 10 * [channels]
        self.convolutions = nn.Sequential(
            *(
                layer
                for inputs, outputs in zip(widths, widths[1:])
                for layer in (nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU())
            )
        )
        self.deconvolutions = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 4, 2, 1),
        )
        for layer in (*self.convolutions, *self.deconvolutions):
            if not isinstance(layer, nn.ReLU):  # torch's default start would shrink the signal away
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
        self.lay_out()

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()  # statistics stay frozen
        return self

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone((images - self.mean) / self.deviation)
        return self.deconvolutions(self.convolutions(features))


def _load_backbone(backbone: nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            weights = load_file(str(path))
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        backbone.load_state_dict(weights)
    except FileNotFoundError:
        raise UserError(f"there are no weights {path}: give a file of ResNet-50's") from None
    except Exception as error:  # of many kinds, from three libraries
        cause = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path} does not hold ResNet-50's weights ({type(error).__name__}: {cause}): give "
            "torchvision's file, or the same as .safetensors"
        ) from None


FENETS = {"small": SmallFENet, "resnet50": ResNetFENet}


class LandmarkModel(nn.Module):
    """f_{theta, omega}: a feature extractor and N detectors as one module, to adapt together."""

    def __init__(self, fenet: nn.Module, omega: torch.Tensor):
        super().__init__()
        self.fenet = fenet
        self.omega = nn.Parameter(omega)

    def forward(self, images: torch.Tensor, omega: torch.Tensor | None = None) -> torch.Tensor:
        """Images (B, 3, S, S) to logits (B, N, h, w), of other detectors where they are given."""
        return detect(self.fenet(images), self.omega if omega is None else omega)


class WeightRegression(nn.Module):
    """H: few-shot detectors (N, C) to many-shot detectors (N, C), the same for every landmark.

    Fully connected layers with leaky ReLU (Wang and Hebert, 2016), added to their input and
    started at zero, so that H is the identity until tasks teach it otherwise.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden), nn.LeakyReLU(0.01),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.01),
            nn.Linear(hidden, channels),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, detectors: torch.Tensor) -> torch.Tensor:
        return detectors + self.layers(detectors)


class FrozenFeatures:
    """Features of a network that is not being trained, each image's computed once.

    A memo by the image's content, of at most `capacity` bytes; beyond that, and after parameters
    were trained, loaded or moved, features are computed anew. Images go through the network one
    by one, so that a feature's bytes do not depend on which images came with it; without any
    capacity they go together.
    """

    def __init__(self, fenet: nn.Module, capacity: int):
        self.fenet = fenet
        self.capacity = capacity
        self._memo: dict[bytes, torch.Tensor] = {}
        self._versions: tuple = ()
        self._size = 0

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) to features (B, C, h, w), without gradient."""
        if self.capacity <= 0:
            return self.fenet(images)
        versions = tuple((p._version, p.data_ptr()) for p in self.fenet.parameters())
        if versions != self._versions:
            self._memo, self._versions, self._size = {}, versions, 0
        return torch.stack([self._one(image) for image in images])

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        key = hashlib.blake2b(image.cpu().numpy().tobytes(), digest_size=16).digest()
        features = self._memo.get(key)
        if features is None:
            features = self.fenet(image.unsqueeze(0))[0]
            size = features.element_size() * features.nelement()
            if self._size + size <= self.capacity:
                self._memo[key] = features
                self._size += size
        return features
