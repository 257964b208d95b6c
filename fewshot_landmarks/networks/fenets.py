"""FENet, the feature extractor, by name: a small one, one from ImageNet, the paper's."""

from fewshot_landmarks.networks.efficientnet import EfficientNetFENet
from fewshot_landmarks.networks.fenet import PRECISIONS
from fewshot_landmarks.networks.resnet50 import ResNetFENet
from fewshot_landmarks.networks.small import SmallFENet

__all__ = ["FENETS", "PRECISIONS"]

FENETS = {"small": SmallFENet, "efficientnet": EfficientNetFENet, "resnet50": ResNetFENet}
