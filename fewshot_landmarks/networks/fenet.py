"""What feature extractors have in common."""

from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import open_regular

PRECISIONS = ("float32", "bfloat16")


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell, without affine parameters.

    One output form for all learners. The features of every cell then have the same length, so a
    squared distance to a prototype is a linear function of the features (see PROTO-MA).
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


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
        self.norm: nn.Module = ChannelNorm()

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


class PretrainedFENet(FENet):
    """A network with a `backbone` that starts from ImageNet.

    Its batch norm keeps the statistics of those weights, also in training; its affine parameters
    adapt.
    """

    pretrained = True
    backbone: nn.Sequential

    def lay_out(self) -> None:
        super().lay_out()
        self.backbone.eval()

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()
        return self


def read_weights(path: Path, network: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, by their names; raises `UserError` unless it holds these alone."""
    try:
        with open_regular(path) as file:
            if path.suffix == ".safetensors":
                weights = load_file(path)
            else:
                weights = torch.load(file, map_location="cpu", weights_only=True)
        if not all(isinstance(each, torch.Tensor) for each in weights.values()):
            raise ValueError("not tensors alone")
        return weights
    except FileNotFoundError:
        raise UserError(f"there are no weights {path}: give a file of {network}'s") from None
    except UnpicklingError:
        raise UserError(
            f"{path} is refused: it holds code, or no tensors; give a file of {network}'s weights"
        ) from None
    except Exception as error:  # of many kinds, from three libraries
        raise not_weights(path, network, error) from None


def not_weights(path: Path, network: str, error: Exception) -> UserError:
    """A file that cannot be read, or whose tensors do not fit, in one line."""
    return UserError(f"{path} does not hold {network}'s weights ({cause(error)})")


def cause(error: Exception) -> str:
    """What another library says, shortened."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def load_backbone(backbone: nn.Module, path: Path, network: str, in_order: bool = False) -> None:
    """Weights from a file, each by its name, or the first of them in the file's order."""
    weights = read_weights(path, network)
    try:
        if in_order:  # safetensors do not keep it
            weights = dict(zip(backbone.state_dict(), weights.values()))
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise not_weights(path, network, error) from None


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution of 3 x 3 with group norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.ReLU(),
    )


def double(features: torch.Tensor) -> torch.Tensor:
    """Features twice as high and wide."""
    return F.interpolate(features, scale_factor=2, mode="nearest")
