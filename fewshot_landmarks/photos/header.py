"""What a model's file may say: its header's values and its tensors, checked before they are used.

Files come from anywhere. No value of a header decides what is imported, how long something runs or
how much memory is taken, beyond the limits below and what the file's own tensors take.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from reprlib import repr as brief
from typing import Any, TypeAlias, get_type_hints

import torch

from fewshot_landmarks.learner import Learner
from fewshot_landmarks.networks.fenet import FENet
from fewshot_landmarks.networks.fenets import FENETS, PRECISIONS
from fewshot_landmarks.photos.confidence import SIGNS, Calibration
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.files import SMALL

FROZEN = "timm"  # the network that a file names, with a fingerprint, and does not carry
NAMED = FROZEN, "pyramid"  # those of which that is so in whole or in part
LARGEST = 1e9  # of any number
WIDEST = 4096  # channels
NECK = 512  # channels of a network that is made before a file's tensors are looked at
SIDE = 512  # pixels of a crop; of a whole photo's twice as many
STEPS = 1000  # of an adaptation
LANDMARKS = 1000  # of a category
CATEGORIES = 10_000
WEAK = 64  # crops without labels that a finder learns from
CELLS = 2**26  # of all labelmaps of a support: half a GiB
CACHE = 2**28  # bytes of features kept, however many the training kept
LENGTH = 10_000  # characters

LIMITS = {"steps": (0, STEPS), "hidden": (1, WIDEST)}  # of settings, by their last word
SOURCES = ("package", "hub", "file", None)  # of a named network's weights; None: random ones
DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8", torch.bool: "BOOL"}

Layout: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensors by name: type, as safetensors call it, and shape."""


class Misfit(Exception):
    """A file that says what no model can; the message is a clause that says what."""


@dataclass(frozen=True)
class Header:
    """What a file says of its model, of the types and within the limits that a model has."""

    settings: Mapping[str, Any]
    network: str
    network_options: Mapping[str, Any]
    fingerprint: str  # of a network that is not in the file
    size: int
    seen: Mapping[int, int]
    base_kind: str
    most_landmarks: int
    calibration: Calibration | None
    about: Mapping[str, object]
    category: str  # of a finder
    names: tuple[str, ...]  # of a finder's landmarks


def parsed(text: str) -> dict:
    """A header as JSON; raises `ValueError`."""
    if len(text) > SMALL:  # as JSON it may take 25 times as much memory
        raise ValueError(f"its header is larger than {SMALL >> 20} MiB")
    try:
        said = json.loads(text)
    except RecursionError:
        said = None
    if not isinstance(said, dict):
        raise ValueError("its header is no JSON object, or nested too deep")
    return said


def read_header(said: Mapping[str, object], learner: type[Learner]) -> Header:
    """A learner's header; raises `Misfit`."""
    network = _one_of(said.get("network"), FENETS, "network")
    base = _object(said.get("base"), "base")
    kind = FENETS[network]
    size = _whole(said.get("size"), "size", 1, SIDE)
    if size % kind.multiple:
        raise Misfit(f"size {size} is no multiple of {kind.multiple}")
    seen = _object(base.get("seen"), "base.seen", 0, CATEGORIES)
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in seen):
        raise Misfit("base.seen has keys that are no numbers of categories")
    finder = said.get("kind") == "finder"
    return Header(
        settings=_settings(_object(said.get("settings"), "settings"), learner),
        network=network,
        network_options=_options(_object(said.get("network_options"), "network_options"), kind),
        fingerprint=text(said.get("fingerprint"), "fingerprint") if network in NAMED else "",
        size=size,
        seen={int(key): _whole(n, "base.seen", 1, LANDMARKS) for key, n in seen.items()},
        base_kind=_one_of(base.get("kind"), ("linear", "cosine"), "base.kind"),
        most_landmarks=_whole(base.get("most_landmarks"), "base.most_landmarks", 0, LANDMARKS),
        calibration=_calibration(said.get("calibration")),
        about=_about(_object(said.get("about"), "about", 0, 100)),
        category=text(said.get("category"), "category") if finder else "",
        names=_texts(said.get("names"), "names", 1, LANDMARKS) if finder else (),
    )


def layout_of(tensors: Mapping[str, torch.Tensor]) -> Layout:
    """The layout of a network's state, wherever it lies."""
    return {
        name: (DTYPES.get(t.dtype, str(t.dtype)), tuple(t.shape)) for name, t in tensors.items()
    }


def check_layout(found: Layout, wanted: Layout) -> None:
    """Raise `Misfit` unless a file has the tensors that its header implies, and no others."""
    if missing := wanted.keys() - found.keys():
        raise Misfit(f"tensor {brief(min(missing))} is missing")
    if more := found.keys() - wanted.keys():
        raise Misfit(f"tensor {brief(min(more))} belongs to no such model")
    for name, (kind, shape) in wanted.items():
        if found[name] != (kind, shape):
            what = f"{found[name][0]} {list(found[name][1])}"
            raise Misfit(f"tensor {name} is {what}, not {kind} {list(shape)}")


def support_layout(header: Header, stride: int, found: Layout) -> Layout:
    """The layout of a finder's support, of as many objects and with crops of whole photos as large
    as its file has them; stride: of its network."""
    (k, *_), (_, _, _, whole) = (_images(found, crops) for crops in CROPS)
    sizes, n = dict(zip(CROPS, (header.size, whole))), len(header.names)
    if not 1 <= whole <= 2 * SIDE or whole % FENETS[header.network].multiple:
        raise Misfit(f"crops of whole photos are {whole} pixels large")
    for size in sizes.values():
        check_support(k, n, (size // stride) ** 2)
    wanted = {"support.shape": ("F32", (n, 2))}
    for crops, size in sizes.items():
        wanted |= _samples_layout(crops, k, n, size)
    if has_weak(found):
        many, *_ = _images(found, "weak")
        if not 1 <= many <= WEAK:
            raise Misfit(f"{many} crops with weak labels are none, or more than {WEAK}")
        wanted |= _samples_layout("weak", many, n, header.size)
    return wanted


def has_weak(found: Layout) -> bool:
    """Whether a file has crops with weak labels."""
    return any(name.startswith("support.weak.") for name in found)


def _samples_layout(crops: str, k: int, n: int, size: int) -> dict[str, tuple]:
    """The layout of K crops of a size with N landmarks."""
    each = {
        "images": ("U8", (k, 3, size, size)),
        "landmarks": ("F32", (k, n, 2)),
        "labelled": ("BOOL", (k, n)),
        "scored": ("BOOL", (k, n)),
        "origin": ("F32", (k, 2)),
        "scale": ("F32", (k, 2)),
        "box": ("F32", (k, 4)),
        "area": ("F32", (k,)),
        "categories": ("I64", (k,)),
        "indices": ("I64", (k,)),
    }
    return {f"support.{crops}.{f.name}": each[f.name] for f in fields(Samples)}


def _images(found: Layout, crops: str) -> tuple[int, ...]:
    """The shape of a support's images in a file."""
    _, shape = found.get(f"support.{crops}.images", ("", ()))
    if len(shape) != 4:
        raise Misfit(f"tensor support.{crops}.images is no batch of images")
    return shape


CROPS = "boxed", "whole"


def check_support(objects: int, landmarks: int, cells: int) -> None:
    """Raise `Misfit` for a support whose heatmaps no machine would hold."""
    if not (0 < landmarks <= LANDMARKS and 0 < objects * landmarks * cells <= CELLS):
        raise Misfit(
            f"{objects} objects of {landmarks} landmarks are too many, or none: take 1 to "
            f"{min(LANDMARKS, CELLS // cells)} landmarks, and {CELLS // cells} in all objects"
        )


def _settings(said: dict, learner: type[Learner]) -> dict:
    types = get_type_hints(learner.Settings)
    if unknown := said.keys() - types.keys():
        raise Misfit(f"settings have {brief(min(unknown))}, which {learner.name} lacks")
    found = {name: _of_type(value, types[name], f"settings.{name}") for name, value in said.items()}
    return found | {"feature_cache": min(found.get("feature_cache", CACHE), CACHE)}


def _of_type(value: object, wanted: object, what: str) -> Any:
    """A setting; those of another type than this project's learners have are left to their own."""
    if wanted is bool:
        return _one_of(value, (True, False), what)
    if wanted is int:
        least, most = LIMITS.get(what.split("_")[-1].split(".")[-1], (0, 2**40))
        return _whole(value, what, least, most)
    if wanted is float:
        return _number(value, what)
    if wanted == tuple[float, ...]:
        return tuple(_number(each, what) for each in _list(value, what, 0, 100))
    return tuple(value) if isinstance(value, list) else value


def _options(said: dict, network: type[FENet]) -> dict:
    known = signature(network).parameters
    if unknown := said.keys() - known.keys():
        raise Misfit(f"network_options have {brief(min(unknown))}, which its network lacks")
    named = any(network is FENETS[name] for name in NAMED)
    widest = NECK if named else WIDEST
    checks = {
        "name": text,
        "channels": lambda value, what: _whole(value, what, 1, widest),
        "width": lambda value, what: _whole(value, what, 1, widest),
        "precision": lambda value, what: _one_of(value, PRECISIONS, what),
        "channels_last": lambda value, what: _one_of(value, (True, False), what),
        "weights": lambda value, what: None,  # they are in the file
    }
    if named:
        checks["weights"] = lambda value, what: _one_of(value, SOURCES, what)
        said = {"name": None, "weights": None} | said
    found = {name: checks[name](value, f"network_options.{name}") for name, value in said.items()}
    return found | ({"weights": None} if network.pretrained and not named else {})


def _calibration(said: object) -> Calibration | None:
    if said is None:
        return None
    said = _object(said, "calibration")
    weights = _list(said.get("weights"), "calibration.weights", len(SIGNS), len(SIGNS))
    return Calibration(
        tuple(_number(weight, "calibration.weights") for weight in weights),
        _number(said.get("bias"), "calibration.bias"),
    )


def _about(said: dict) -> dict:
    """Texts, numbers, and lists of texts."""
    found: dict[str, object] = {}
    for name, value in said.items():
        what = f"about.{text(name, 'about')}"
        if isinstance(value, list):
            found[name] = list(_texts(value, what, 0, CATEGORIES))
        elif isinstance(value, str):
            found[name] = text(value, what)
        else:
            plain = value is None or isinstance(value, bool)
            found[name] = value if plain else _number(value, what)
    return found


# ------------------------------------------------------------------------------- values


def _object(value: object, what: str, least: int = 0, most: int = 1000) -> dict:
    if not (isinstance(value, dict) and least <= len(value) <= most):
        raise Misfit(f"{what} is no object of {least} to {most} entries")
    return value


def _list(value: object, what: str, least: int, most: int) -> list:
    if not (isinstance(value, list) and least <= len(value) <= most):
        raise Misfit(f"{what} is no list of {least} to {most} entries")
    return value


def _whole(value: object, what: str, least: int, most: int) -> int:
    if not (type(value) is int and least <= value <= most):
        raise Misfit(f"{what} is {brief(value)}, not a whole number from {least} to {most}")
    return value


def _number(value: Any, what: str) -> float:
    # Comparisons first: NaN fails them, and an integer of 400 digits has no float.
    if not (type(value) in (int, float) and -LARGEST <= value <= LARGEST):
        raise Misfit(f"{what} is {brief(value)}, not a number up to {LARGEST:g}")
    return value


def _one_of(value: object, known: Iterable, what: str) -> Any:
    found = [each for each in known if type(each) is type(value) and each == value]
    if not found:
        raise Misfit(f"{what} is {brief(value)}, none of {', '.join(map(str, known))}")
    return found[0]


def text(value: object, what: str) -> str:
    if not (isinstance(value, str) and len(value) <= LENGTH):
        raise Misfit(f"{what} is {brief(value)}, no text of up to {LENGTH} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Misfit(f"{what} is {brief(value)}, which holds half a character")
    return value


def _texts(value: object, what: str, least: int, most: int) -> tuple[str, ...]:
    return tuple(text(each, what) for each in _list(value, what, least, most))
