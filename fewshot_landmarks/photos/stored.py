"""A model's file: numbers and names in safetensors, written whole, and read with nothing believed.

A learner's `adapt` is pure, so an adapted model *is* its learner and its support: a finder's file
holds both, and adapts again when it is opened.
"""

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from os.path import isfile
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from fewshot_landmarks import __version__
from fewshot_landmarks.learner import Learner, trusted_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.photos.header import (
    CROPS,
    Header,
    Layout,
    Misfit,
    check_layout,
    layout_of,
    parsed,
    read_header,
    support_layout,
    text,
)
from fewshot_landmarks.protocol import LEARNERS
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import save_tensors

FORMAT = 1  # of the files: raise it when older ones can no longer be read
HEADER = "fewshot_landmarks"  # the entry of a file's metadata that says what it is


@dataclass(frozen=True)
class Support:
    """Annotated photos of one category, cropped."""

    category: str
    names: tuple[str, ...]  # of the N landmarks
    boxed: Samples  # around the object
    whole: Samples  # all of the photo: for photos whose object is not boxed
    shape: np.ndarray  # (N, 2): mean place of each landmark, 0 to 1 across the object's box


def write(path: Path, model, support: Support | None = None) -> None:
    """Write a `model.Model`, with what it was adapted to if that is given; whole or not at all."""
    base, tensors, said = model.learner.base, model.learner.state_dict(), {}
    if support:
        said = {"category": support.category, "names": support.names}
        tensors["support.shape"] = torch.from_numpy(support.shape)
        for crops in CROPS:
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
        "network_options": {**model.network_options},
        "size": model.size,
        "base": {"seen": base.seen, "kind": base.kind, "most_landmarks": base.most_landmarks},
        "calibration": asdict(model.calibration) if model.calibration else None,
        "about": {**model.about},
        **said,
    }
    save_tensors(path, tensors, **{HEADER: json.dumps(header)})  # type: ignore[arg-type]


def read(path: Path, asked: str | type[Learner] | None) -> tuple[dict[str, Any], Support | None]:
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
            return _opened(path, parsed(said), file, asked)
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
    path: Path, said: dict, file, asked: str | type[Learner] | None
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
    except UserError as reason:
        raise UserError(f"{path}: {reason}") from None
    header = read_header(said, found)
    layout = {name: _layout(file.get_slice(name)) for name in file.keys()}
    learner = _learner(header, found, layout, file)
    support = None
    if said["kind"] == "finder":
        if len(header.names) > (learner.most_landmarks or len(header.names)):
            raise Misfit(f"{found.name} was trained for {learner.most_landmarks} landmarks at most")
        wanted = support_layout(header, learner.base.fenet.stride, layout)
        check_layout(_part(layout, "support."), wanted)
        support = _support(header, file)
    of_header = ("network", "network_options", "size", "calibration", "about")
    told = {name: getattr(header, name) for name in of_header}
    return {"learner": learner, "name": source, **told}, support


def _layout(tensor) -> tuple[str, tuple[int, ...]]:
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _part(layout: Layout, *starts: str) -> Layout:
    return {name: known for name, known in layout.items() if name.startswith(starts)}


def _learner(header: Header, kind: type[Learner], layout: Layout, file) -> Learner:
    """The learner of a file, made once its base model's tensors are known to be in the file."""
    with torch.device("meta"):  # shapes alone, without memory
        base = _base(header)
    wanted = layout_of(base.state_dict(prefix="base."))
    check_layout(_part(layout, "base."), wanted)
    learner = kind(_base(header), kind.Settings(**header.settings))
    own = {name: known for name, known in layout.items() if not name.startswith("support.")}
    check_layout(own, layout_of(learner.state_dict()))
    learner.load_state_dict({name: _finite(name, file) for name in own})
    return learner.eval()


def _base(header: Header) -> BaseModel:
    fenet = FENETS[header.network](**header.network_options)
    return BaseModel(fenet, header.seen, header.base_kind, header.most_landmarks)


def _finite(name: str, file) -> torch.Tensor:
    tensor = file.get_tensor(name)
    if not tensor.isfinite().all():
        raise Misfit(f"tensor {name} holds values that are no numbers")
    return tensor


def _support(header: Header, file) -> Support:
    def samples(crops: str) -> Samples:
        found = Samples(*(_finite(f"support.{crops}.{f.name}", file) for f in fields(Samples)))
        inside = ((found.landmarks >= 0) & (found.landmarks < found.size)).all(-1)
        if not ((found.scale > 0).all() and (inside | ~found.labelled).all()):
            raise Misfit("labelled landmarks of its support are outside their crops")
        return replace(found, images=found.images / 255)

    shape = file.get_tensor("support.shape").numpy()  # NaN where no object labels a landmark
    boxed, whole = map(samples, CROPS)
    return Support(header.category, header.names, boxed, whole, shape)
