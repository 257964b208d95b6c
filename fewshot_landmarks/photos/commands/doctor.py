"""The work of `fewshot-landmarks doctor`: `parsers.doctor` says what it is."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.data.formats.annotations import Annotations, read_annotations
from fewshot_landmarks.data.formats.annotators import yolo
from fewshot_landmarks.data.index import SPLITS
from fewshot_landmarks.data.keypoints import Keypoints, KeypointSplit, names_a_split
from fewshot_landmarks.data.source import Source, find_source
from fewshot_landmarks.photos.commands.common import DEFAULT, open_model
from fewshot_landmarks.photos.commands.mistakes import check_mended, find, write_mended
from fewshot_landmarks.photos.errors.expected import expected
from fewshot_landmarks.photos.header import NAMED
from fewshot_landmarks.photos.model import Finder, load
from fewshot_landmarks.protocol import unfit
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import listed
from fewshot_landmarks.support.rng import permutation

SIZE = 64  # pixels of the crops that are tried
SHOWN = 20  # lines on broken files, of each split
FINE, TROUBLE = 0, 1


def execute(arguments: argparse.Namespace) -> int:
    """Report; `TROUBLE` if a run on the data would stop or leave objects out."""
    if arguments.model:
        return describe(arguments.model, arguments.learner, arguments.backbone, arguments.weights)
    if arguments.mended:
        check_mended(arguments.mended)
    splits, source = _open(arguments)
    if source and (arguments.mistakes or arguments.mended):
        raise UserError("--mistakes and --mended are of annotations: give their file as --data")
    queries = {"train": arguments.train_queries, "validation": arguments.queries}
    troubles = []
    for split, garments in splits.items():
        counts = count(garments)
        print(f"\n{garments.root}, {split}: {len(garments)} objects, {garments.fingerprint}")
        print(counts.to_string())
        damaged = list(undecodable(garments, arguments.decode))
        odd = [*garments.skipped, *damaged]
        if garments.unlabelled:
            print(f"{garments.unlabelled} objects have no labelled landmark and are left out")
        if odd:
            troubles.append(f"{split}: {len(odd)} files or objects are broken and left out")
            print(*odd[:SHOWN], sep="\n")
            if len(odd) > SHOWN:
                print(f"... and {len(odd) - SHOWN} more")
        if isinstance(garments, Keypoints) and not source:
            troubles += _mistakes(garments.annotations, arguments)
    fit = "Fit to be learnt from."
    if source:
        sides = {split: (garments, queries[split]) for split, garments in splits.items()}
        troubles += unfit(source.benchmarks.values(), source.categories, sides)
        fit = "Fit for every benchmark."
    print("", "\n".join(troubles) or fit, sep="\n")
    return TROUBLE if troubles else FINE


def _mistakes(annotations: Annotations, asked: argparse.Namespace) -> Iterator[str]:
    """Print what does not fit, and what was mended; a sentence if there is something."""
    model = None
    if asked.mistakes or asked.mended:
        on = asked.backbone, asked.weights
        model = open_model(None, asked.learner or DEFAULT, find_device(asked.device), *on)
    found, lines = find(annotations, model)
    print(*lines, sep="\n", end="\n" * bool(lines))
    for each in found:
        photo = annotations.photos[annotations.index.photo[each.row]]
        kind = annotations.categories[int(annotations.index.category[each.row])]
        which = listed(kind.names[i] for i in each.landmarks) + " " * bool(each.landmarks)
        item = annotations.index.item[each.row]
        print(f"{photo.path}: annotation {item}: {which}{each.kind}: {each.why}")
    if asked.mended:
        changed = write_mended(annotations, found, asked.mended)
        print(f"{asked.mended}: {changed} landmarks differ from {annotations.source}: swapped ones "
              "are exchanged, those far off are not labelled; all else is as it was")  # fmt: skip
    if found:
        yield f"{len(found)} things in the annotations do not fit the others: look at them"


def _open(arguments: argparse.Namespace) -> tuple[dict[str, Garments], Source | None]:
    """The sides of the data, and the data set whose benchmarks are run on them."""
    data = arguments.data
    folders = (data / "train").is_dir() and not yolo.configured(data)
    if names_a_split(data) or folders or not data.exists():
        source = find_source(data)
        options = {"size": SIZE, "strict": False, "cache": arguments.cache, "progress": True}
        splits = {split: source.open(split, **options) for split in SPLITS}
        if isinstance(source, KeypointSplit):
            notes = (source.annotations(split).notes for split in SPLITS)
            for note in dict.fromkeys(note for each in notes for note in each):
                print(note)
        return splits, source
    annotations = read_annotations(data, images=arguments.images)
    print(*annotations.notes, sep="\n")
    return {"annotations": Keypoints(annotations, size=SIZE)}, None


def describe(path: Path, learner: str | None, backbone: str | None, weights: str | None) -> int:
    """Print what a model is."""
    found = load(path, "cpu", learner, backbone, weights)
    model = found.model if isinstance(found, Finder) else found
    network = f"{model.network} network"
    if model.network in NAMED:
        network = "network {name}, weights {weights}".format(**model.network_options)
    print(f"{path}: {model.learner.name}, {network}, crops of {model.size} pixels")
    where = "calibrated, on data like those of training" if model.calibration else "not calibrated"
    if model.learner.says_densities:
        where = "probabilities, as the densities of its heatmaps tell them"
    print(f"scores are {where}")
    for name, value in model.about.items():
        print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    if isinstance(found, Finder):
        labelled = found.support.boxed.labelled
        print(f"adapted to {found.support.category!r} by {len(labelled)} annotated objects")
        if (weak := found.support.weak) is not None:
            print(f"and by {int(weak.labelled.sum())} landmarks found in {len(weak)} photos "
                  "without labels")  # fmt: skip
        counts = sorted(zip(labelled.sum(0).tolist(), range(len(found.names))))
        rarest = listed(f"{found.names[i]} {count}" for count, i in counts)
        print(f"{len(counts)} landmarks, and how many label them, from the fewest: {rarest}")
        print(*expected(found), sep="\n")
    return FINE


def count(garments: Garments) -> pd.DataFrame:
    """Objects and photos of each category."""
    frame = pd.DataFrame({"category": garments.labels, "photo": garments.photos})
    by = frame.groupby("category")["photo"]
    found = pd.DataFrame({"objects": by.size(), "photos": by.nunique()})
    kinds = garments.categories
    found = found.reindex(list(kinds), fill_value=0)
    found.index = pd.Index([kind.name for kind in kinds.values()], name="category")
    return found


def undecodable(garments: Garments, photos: int) -> Iterator[str]:
    """A line on each garment that cannot be cropped, of some photos drawn at random.

    It is no longer `usable` then.
    """
    numbers = np.unique(garments.photos)
    order = permutation(len(numbers), 0)[: max(photos, 0)]
    members = np.flatnonzero(np.isin(garments.photos, numbers[order]))
    for i in tqdm(members, desc=f"decoding {garments.split}", unit="object", leave=False):
        try:
            garments[int(i)]
        except UserError as error:
            garments.usable[i] = False
            yield str(error)
