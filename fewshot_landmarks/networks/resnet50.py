"""The paper's feature extractor."""

from pathlib import Path

import torch
from torch import nn

from fewshot_landmarks.networks.fenet import PretrainedFENet, load_backbone
from fewshot_landmarks.support.errors import UserError


class ResNetFENet(PretrainedFENet):
    """The paper's FENet (section 4.2): ResNet-50, ten convolutions, two deconvolutions; stride 8.

    weights: a name of torchvision's ResNet50_Weights, a file of ResNet-50's weights (.safetensors,
    or torchvision's own .pth), or None. Raises `UserError` where they cannot be had.
    """

    stride = 8
    multiple = 32
    mean: torch.Tensor
    deviation: torch.Tensor

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
            load_backbone(backbone, Path(weights), "ResNet-50")
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
