"""A model's file: numbers and names in safetensors, written whole, and read with nothing believed.

A learner's `adapt` is pure, so an adapted model *is* its learner and its support: a finder's file
holds both, and adapts again when it is opened.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from os.path import isfile
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from fewshot_landmarks import __version__
from fewshot_landmarks.learner import Detector, Learner, SamplesDetector, trusted_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenet import FENet
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.networks.pretrained import PACKAGES
from fewshot_landmarks.photos.header import (
    CROPS,
    FROZEN,
    LARGEST,
    NAMED,
    SOURCES,
    Header,
    Layout,
    Misfit,
    check_layout,
    has_weak,
    layout_of,
    parsed,
    read_header,
    support_layout,
    text,
)
from fewshot_landmarks.photos.unlabelled import Teachable, teachable
from fewshot_landmarks.protocol import LEARNERS, UNTRAINED
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import save_tensors

FORMAT = 1  # of the files: raise it when older ones can no longer be read
HEADER = "fewshot_landmarks"  # the entry of a file's metadata that says what it is
NETWORK = "base.fenet."  # how the base model's tensors of its network begin


@dataclass(frozen=True)
class Support:
    """Annotated photos of one category, cropped."""

    category: str
    names: tuple[str, ...]  # of the N landmarks
    boxed: Samples  # around the object
    whole: Samples  # all of the photo: for photos whose object is not boxed
    shape: np.ndarray  # (N, 2): mean place of each landmark, 0 to 1 across the object's box
    weak: Samples | None = None  # around objects of photos without labels: see `unlabelled`


def adapted(
    learner: Learner, support: Samples, weak: Samples | None = None
) -> Detector | SamplesDetector:
    """The learner's detector, by weak labels too where there are any; whatever it draws is the
    same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with torch.no_grad():
            if weak is None:
                return learner.adapt(support)
            return teachable(learner).adapt_with(support, weak)


def write(path: Path, model, support: Support | None = None) -> None:
    """Write a `model.Model`, with what it was adapted to if that is given; whole or not at all."""
    base, tensors, said = model.learner.base, model.learner.state_dict(), {}
    options = {**model.network_options}
    if model.network == FROZEN:
        tensors = {name: t for name, t in tensors.items() if not name.startswith(NETWORK)}
    if model.network in NAMED:
        known = signature(FENETS[model.network]).parameters
        options = {name: known[name].default for name in ("name", "weights")} | options
        options["weights"] = options["weights"] if options["weights"] in SOURCES else "file"
        said["fingerprint"] = base.fenet.fingerprint
    if support:
        said |= {"category": support.category, "names": support.names}
        tensors["support.shape"] = torch.from_numpy(support.shape)
        for crops in CROPS if support.weak is None else (*CROPS, "weak"):
            samples = getattr(support, crops)
            samples = replace(samples, images=(samples.images * 255).round().to(torch.uint8))
            tensors |= {
                f"support.{crops}.{f.name}": getattr(samples, f.name) for f in fields(Samples)
            }
    header = {
        "format": FORMAT,
        "kind": "finder" if support else "learner",
        "version": __version__,
        "learner": model.name,
        "settings": asdict(model.learner.settings),
        "network": model.network,
        "network_options": options,
        "size": model.size,
        "base": {"seen": base.seen, "kind": base.kind, "most_landmarks": base.most_landmarks},
        "calibration": asdict(model.calibration) if model.calibration else None,
        "about": {**model.about},
        **said,
    }
    save_tensors(path, tensors, **{HEADER: json.dumps(header)})  # type: ignore[arg-type]


def read(
    path: Path,
    asked: str | type[Learner] | None,
    backbone: str | None = None,
    weights: str | None = None,
) -> tuple[dict[str, Any], Support | None]:
    """The fields of a `model.Model`, and what it was adapted to if it was; see `model.load`."""
    _refuse_others(path)
    try:
        with safe_open(str(path), "pt") as file:
            said = (file.metadata() or {}).get(HEADER)
            if not said:
                raise UserError(
                    f"{path} holds weights, but not of this project's models: give a file that "
                    "`python -m benchmarks.export` or `fewshot-landmarks adapt` wrote"
                )
            return _opened(path, parsed(said), file, asked, backbone, weights)
    except Misfit as reason:
        raise UserError(
            f"{path} does not fit together ({reason}): export or adapt it again"
        ) from None
    except (SafetensorError, ValueError, OSError) as error:
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no model, or broken: {cause}") from None


def _refuse_others(path: Path) -> None:
    """Raise `UserError` for what is no file that can be read, and for pickles."""
    if not isfile(path):
        why = "it is no file" if os.path.lexists(path) else "there is no such file"
        raise UserError(f"cannot read the model {path}: {why}; ours are {', '.join(LEARNERS)}")
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UserError(f"cannot read the model {path}: {error.strerror or error}") from None
    if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise UserError(
            f"{path} is a pickle, which could run any code when it is opened: refused; models of "
            "this project are .safetensors"
        )


def _opened(
    path: Path,
    said: dict,
    file,
    asked: str | type[Learner] | None,
    backbone: str | None,
    weights: str | None,
) -> tuple[dict[str, Any], Support | None]:
    """What an open file holds; raises `Misfit`."""
    if said.get("format") != FORMAT or said.get("kind") not in ("learner", "finder"):
        raise UserError(
            f"{path} has format {brief(said.get('format'))} and kind {brief(said.get('kind'))}, "
            f"this version ({__version__}) reads format {FORMAT}: export or adapt it again"
        )
    source = text(said.get("learner"), "learner")
    try:
        found = trusted_learner(source, asked)
        header = read_header(said, found)
        fenet, options = _named(header, backbone, weights)
    except UserError as reason:
        raise UserError(f"{path}: {reason}") from None
    layout = {name: _layout(file.get_slice(name)) for name in file.keys()}
    learner = _learner(header, found, layout, file, fenet)
    support = None
    if said["kind"] == "finder":
        most = learner.most_landmarks
        if most is not None and len(header.names) > most:
            raise Misfit(f"{found.name} was trained for {most} landmarks at most")
        wanted = support_layout(header, learner.base.fenet.stride, layout)
        check_layout(_part(layout, "support."), wanted)
        weak = has_weak(layout)
        if weak and not isinstance(learner, Teachable):
            raise Misfit(f"{found.name} learns from no weak labels")
        support = _support(header, file, weak)
    of_header = ("network", "size", "calibration", "about")
    told = {name: getattr(header, name) for name in of_header}
    return {"learner": learner, "name": source, "network_options": options, **told}, support


def _named(
    header: Header, backbone: str | None, weights: str | None
) -> tuple[FENet | None, Mapping[str, Any]]:
    """The network that a file names and does not carry in whole, or None; and its options.

    On a file's word alone only those are made whose weights a Python package carries: no file
    decides what is fetched, which file is read or how large a network is. Raises `UserError`.
    """
    said = dict(header.network_options)
    if header.network not in NAMED:
        if backbone or weights:
            raise UserError(
                f"it has a network of its own, {header.network}: leave --backbone and --weights "
                f"out, which untrained learners take ({', '.join(UNTRAINED)})"
            )
        return None, said
    name, source = said["name"], said["weights"]
    called = f"network {name[:100]!r}"
    if backbone is None:
        known = source == "package" and name.partition(".")[0] in PACKAGES
        if not known or weights is not None:
            raise UserError(
                f"it was made with {called}, weights from {source}: if you trust it, name both, "
                "with --backbone NAME --weights FILE, or 'hub'"
            )
    elif backbone != name:
        raise UserError(f"it was made with {called}, not {backbone!r}: name that one")
    said["weights"] = weights or "package"
    fenet: Any = FENETS[header.network](**said)
    if fenet.fingerprint != header.fingerprint:
        raise UserError(
            f"it was made with other weights of {called} than these: name those it was made with, "
            "--backbone NAME --weights FILE, or adapt it again"
        )
    return fenet, said


def _layout(tensor) -> tuple[str, tuple[int, ...]]:
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _part(layout: Layout, *starts: str) -> Layout:
    return {name: known for name, known in layout.items() if name.startswith(starts)}


def _learner(
    header: Header, kind: type[Learner], layout: Layout, file, named: FENet | None
) -> Learner:
    """The learner of a file, made once its base model's tensors are known to be in the file; on
    a network that is not in it, or not in whole, if one is `named`."""

    def base() -> BaseModel:
        fenet = named or FENETS[header.network](**header.network_options)
        return BaseModel(fenet, header.seen, header.base_kind, header.most_landmarks)

    whole = named.state_dict(prefix=NETWORK) if named and header.network == FROZEN else {}
    there = {name: tensor.detach() for name, tensor in whole.items()}

    def stored(tensors: Mapping[str, torch.Tensor]) -> Layout:
        return layout_of({name: t for name, t in tensors.items() if name not in there})

    with torch.device("meta"):  # shapes alone, without memory
        wanted = stored(base().state_dict(prefix="base."))
    check_layout(_part(layout, "base."), wanted)
    learner = kind(base(), kind.Settings(**header.settings))
    own = {name: known for name, known in layout.items() if not name.startswith("support.")}
    check_layout(own, stored(learner.state_dict()))
    learner.load_state_dict(there | {name: _finite(name, file) for name in own})
    return learner.eval()


def _finite(name: str, file) -> torch.Tensor:
    tensor = file.get_tensor(name)
    if not tensor.isfinite().all():
        raise Misfit(f"tensor {name} holds values that are no numbers")
    return tensor


def _support(header: Header, file, weak: bool) -> Support:
    def samples(crops: str) -> Samples:
        found = Samples(*(_finite(f"support.{crops}.{f.name}", file) for f in fields(Samples)))
        inside = ((found.landmarks >= 0) & (found.landmarks < found.size)).all(-1)
        if not (inside | ~found.labelled).all():
            raise Misfit("labelled landmarks of its support are outside their crops")
        sides = found.box[:, 2:] - found.box[:, :2]
        if not all(((0 < n) & (n < LARGEST)).all() for n in (found.scale, sides, found.area)):
            raise Misfit("boxes of its support have no sides")
        return replace(found, images=found.images / 255)

    shape = file.get_tensor("support.shape").numpy()  # NaN where no object labels a landmark
    boxed, whole = map(samples, CROPS)
    return Support(
        header.category, header.names, boxed, whole, shape, samples("weak") if weak else None
    )
