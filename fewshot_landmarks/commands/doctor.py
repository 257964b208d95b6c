"""Whether a folder of DeepFashion2 will do: python -m fewshot_landmarks doctor --data DIR

Layout, garments by category, files that are broken or odd, and categories with too few garments:
all that would end or falsify a run, before any of it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from fewshot_landmarks.categories import CATEGORIES, category
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.index import SPLITS
from fewshot_landmarks.draws import permutation
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.protocol import BENCHMARKS, SHOTS

SHOWN = 20  # lines on broken files, of each split
FINE, TROUBLE = 0, 1


def add_to(commands) -> None:
    """Add the command to a parser's commands."""
    made = commands.add_parser("doctor", help="check a folder of DeepFashion2", description=__doc__)
    made.add_argument("--data", type=Path, required=True, metavar="DIR")
    made.add_argument("--shots", type=int, default=max(SHOTS), help=f"default: {max(SHOTS)}")
    made.add_argument("--queries", type=int, default=24, help="of an episode (default: 24)")
    made.add_argument(
        "--train-queries", type=int, default=12, help="of a training task (default: 12)"
    )
    made.add_argument(
        "--decode", type=int, default=500, metavar="N", help="photos to decode (default: 500)"
    )
    made.add_argument("--cache", type=Path, metavar="DIR", help="where the index is kept")
    made.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Report on both splits; `TROUBLE` if a run on them would stop or leave garments out."""
    troubles = []
    for split in SPLITS:
        garments = DeepFashion2(arguments.data, split, cache=arguments.cache, progress=True)
        counts = count(garments)
        print(f"\n{arguments.data / split}: {len(garments)} garments, index {garments.fingerprint}")
        print(counts.to_string())
        damaged = list(undecodable(garments, arguments.decode))
        odd = [*garments.skipped, *damaged]
        if garments.unlabelled:
            print(f"{garments.unlabelled} garments have no labelled landmark and are left out")
        if odd:
            troubles.append(f"{split}: {len(odd)} files or garments are broken and left out")
            print(*odd[:SHOWN], sep="\n")
            if len(odd) > SHOWN:
                print(f"... and {len(odd) - SHOWN} more")
        queries = arguments.train_queries if split == "train" else arguments.queries
        troubles += too_few(counts, split, arguments.shots + queries)
    print()
    print("\n".join(troubles) or "Fit for every benchmark.")
    return TROUBLE if troubles else FINE


def count(garments: DeepFashion2) -> pd.DataFrame:
    """Garments and photos of each category."""
    frame = pd.DataFrame({"category": garments.labels, "photo": garments.photos})
    by = frame.groupby("category")["photo"]
    found = pd.DataFrame({"garments": by.size(), "photos": by.nunique()})
    found = found.reindex([c.id for c in CATEGORIES], fill_value=0)
    found.index = pd.Index([c.name for c in CATEGORIES], name="category")
    return found


def undecodable(garments: DeepFashion2, photos: int) -> Iterator[str]:
    """A line on each garment that cannot be cropped, of some photos drawn at random."""
    numbers = np.unique(garments.photos)
    order = permutation(len(numbers), 0)[: max(photos, 0)]
    members = np.flatnonzero(np.isin(garments.photos, numbers[order]))
    for i in tqdm(members, desc=f"decoding {garments.split}", unit="garment", leave=False):
        try:
            garments[int(i)]
        except UserError as error:
            yield str(error)


def too_few(counts: pd.DataFrame, split: str, needed: int) -> Iterator[str]:
    """A line on each category with too few photos for its part in a benchmark."""
    for name, photos in counts.photos[counts.photos < needed].items():
        part = "seen" if split == "train" else "unseen"
        hit = [b.name for b in BENCHMARKS.values() if category(name).id in getattr(b, part)]
        if hit:
            yield (
                f"{split}: {name} has {photos} photos, a task needs {needed}: "
                f"{', '.join(hit)} cannot be run"
            )
