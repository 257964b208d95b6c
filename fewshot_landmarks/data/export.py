"""One category of DeepFashion2 (or of garments in its layout) as a keypoint set of one's own.

    python -m fewshot_landmarks.data.export --data DIR --split validation \\
        --category "long sleeve dress" --photos 40 --out SET

writes `SET/annotations.json`, COCO keypoint JSON with one annotation a garment, and the photos it
names to `SET/images/`. Coordinates are those of the data set, in pixels of the stored photo.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewshot_landmarks.data.categories import Category, category
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.images import Unreadable, open_photo
from fewshot_landmarks.data.index import SPLITS
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular, write_bytes, write_text
from fewshot_landmarks.support.rng import permutation


def export_category(
    data: str | os.PathLike,
    split: str,
    wanted: int | str,
    out: str | os.PathLike,
    *,
    photos: int | None = None,
) -> tuple[dict, list[str]]:
    """Write the garments of one category, and their photos, to the folder `out`.

    `photos` limits how many photos are taken; which, is drawn at random, the same each time.
    Image ids are the data set's photo numbers; an area is that of the garment's box, as the data
    set has it by default.

    Returns what `annotations.json` holds, and a line on each photo left out because it cannot be
    decoded.

    Raises `UserError` if the data or the category are not there, no photo can be decoded, `out`
    holds other files of these names, or it cannot be written.
    """
    if photos is not None and photos < 1:
        raise UserError(f"{photos} photos: ask for 1 or more")
    out, asked = Path(out), category(wanted)
    garments = DeepFashion2(data, split, categories=[asked.id], progress=True)
    numbers = np.unique(garments.photos)
    if photos is not None:
        numbers = np.sort(numbers[permutation(len(numbers), 0)[:photos]])

    images, sources, skipped = [], {}, []
    for number in numbers.tolist():
        name = f"images/{number:06d}.jpg"
        source = Path(data, split, "image", f"{number:06d}.jpg")
        try:
            width, height = _size(source)
        except (OSError, SyntaxError, Unreadable) as error:
            skipped.append(f"{source}: left out, cannot be decoded: {error}")
            continue
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        sources[out / name] = source
    if not images:
        raise UserError(f"none of {len(numbers)} photos can be decoded: {skipped[0]}")

    taken = np.isin(garments.photos, [image["id"] for image in images])
    coco = {
        "info": {"description": f"{asked.name} of {split}"},
        "images": images,
        "annotations": [
            {"id": k} | _annotation(garments, i)
            for k, i in enumerate(np.flatnonzero(taken).tolist(), start=1)
        ],
        "categories": [_described(asked)],
    }
    _write(out, json.dumps(coco) + "\n", sources)
    return coco, skipped


def _size(photo: Path) -> tuple[int, int]:
    """Width and height as stored, of a photo that can be decoded to its end."""
    with open_photo(photo) as image:
        image.load()
        return image.size


def _annotation(garments: DeepFashion2, i: int) -> dict:
    index = garments._index
    points = garments.original_landmarks(i).double().numpy()
    visible = index.landmarks(i)[1]
    points = _decimal(np.where(visible[:, None] > 0, points, 0))
    x1, y1, x2, y2 = index.box[i].astype(float)
    return {
        "image_id": int(garments.photos[i]),
        "category_id": int(garments.labels[i]),
        "keypoints": [n for (x, y), v in zip(points, visible.tolist()) for n in (x, y, v)],
        "num_keypoints": int((visible > 0).sum()),
        "bbox": _decimal(np.array([x1, y1, x2 - x1, y2 - y1])),
        "area": float(index.area[i]),
        "iscrowd": 0,
    }


def _decimal(values: np.ndarray) -> list:
    """Thousandths of a pixel: the index's single precision resolves no more."""
    return np.round(values, 3).tolist()


def _described(asked: Category) -> dict:
    return {
        "id": asked.id,
        "name": asked.name,
        "supercategory": "clothes",
        "keypoints": list(asked.names),
        "skeleton": [[a + 1, b + 1] for a, b in asked.edges],
        "sigmas": list(asked.oks_sigmas),
    }


def _write(out: Path, text: str, sources: dict[Path, Path]) -> None:
    """Write the photos, then the annotations; nothing where `out` holds others of these names."""
    annotations = out / "annotations.json"
    held = {annotations: text.encode()} | {path: None for path in sources}
    for path, content in held.items():
        if os.path.lexists(path) and not _holds(path, content or read_regular(sources[path])):
            raise UserError(f"{path} is there with other content: choose another folder (--out)")
    for path, source in sources.items():
        write_bytes(path, read_regular(source))
    write_text(annotations, text)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file is there and holds this."""
    try:
        return read_regular(path) == content
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    made = argparse.ArgumentParser(
        "python -m fewshot_landmarks.data.export", description=__doc__.partition("\n")[0]
    )
    made.add_argument("--data", type=Path, required=True, metavar="DIR")
    made.add_argument("--split", default="validation", help=f"{' or '.join(SPLITS)}")
    made.add_argument("--category", required=True, metavar="NAME", help="its name or its id")
    made.add_argument("--photos", type=int, metavar="N", help="how many (default: all)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR")
    return answer(execute, made.parse_args(arguments))


def execute(asked: argparse.Namespace) -> None:
    """Export, and say what."""
    wanted = int(asked.category) if asked.category.isdigit() else asked.category
    coco, skipped = export_category(asked.data, asked.split, wanted, asked.out, photos=asked.photos)
    print(*skipped, sep="\n", end="\n" if skipped else "", file=sys.stderr)
    print(
        f"{asked.out}: {len(coco['annotations'])} garments in {len(coco['images'])} photos, "
        "annotations.json and images/"
    )


if __name__ == "__main__":
    sys.exit(main())
