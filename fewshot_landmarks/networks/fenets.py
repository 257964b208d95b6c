"""FENet, the feature extractor, by name: a small one, two from ImageNet, any of timm's, and a neck
on such a one."""

from fewshot_landmarks.networks.efficientnet import EfficientNetFENet
from fewshot_landmarks.networks.fenet import PRECISIONS, FENet
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.networks.pyramid import PyramidFENet
from fewshot_landmarks.networks.resnet50 import ResNetFENet
from fewshot_landmarks.networks.small import SmallFENet

__all__ = ["FENETS", "PRECISIONS"]

FENETS: dict[str, type[FENet]] = {
    "small": SmallFENet,
    "efficientnet": EfficientNetFENet,
    "resnet50": ResNetFENet,
    "timm": TimmFENet,
    "pyramid": PyramidFENet,
}
