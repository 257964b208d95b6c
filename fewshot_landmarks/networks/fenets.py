"""FENet, the feature extractor, by name: a small one, one from ImageNet, the paper's."""

from fewshot_landmarks.networks.efficientnet import EfficientNetFENet
from fewshot_landmarks.networks.fenet import PRECISIONS, FENet
from fewshot_landmarks.networks.resnet50 import ResNetFENet
from fewshot_landmarks.networks.small import SmallFENet

__all__ = ["FENETS", "PRECISIONS"]

FENETS: dict[str, type[FENet]] = {
    "small": SmallFENet,
    "efficientnet": EfficientNetFENet,
    "resnet50": ResNetFENet,
}
