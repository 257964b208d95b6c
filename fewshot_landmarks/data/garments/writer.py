"""Writes sets of photos in DeepFashion2's layout: resumable, parallel, the same bytes always."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import as_completed
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.categories import CATEGORIES
from fewshot_landmarks.data.garments.clothes.outfit import FREQUENCIES
from fewshot_landmarks.data.garments.scene import DIFFICULTIES, draw_photo
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    SMALL,
    advice,
    alone,
    is_whole,
    read_regular,
    write_bytes,
)
from fewshot_landmarks.support.processes import Processes

NAME = "procedural garments"
VERSION = 2  # to be raised whenever the drawing changes
SPLITS = ("train", "validation")
LOCK = ".lock"
MOST = 999_999  # photos of a split: their names have six digits
_CHUNK = 16
_LEADS, _DRAWING = 1, 2  # streams of random numbers
_MARKER = re.compile(  # what may be there before the plan is
    r"\.lock|(plan|generator)\.json(\.sum|\.damaged\d*|\.partial)?|\.[0-9a-f]{16}\.partial"
)
_OURS = re.compile(r"\d{6}\.(jpg|json)(\.partial)?")


def write_garments(
    root: Path,
    *,
    photos: Mapping[str, int],
    minimum: Mapping[str, int],
    seed: int = 0,
    difficulty: str = "outfits",
    workers: int = 1,
    progress: bool = True,
) -> dict:
    """Write procedural photos to `root/{train,validation}/{image,annos}`.

    `photos` holds the number of photos of a split, `minimum` how many garments of each category
    a split has at least; a split that is left out is not written. The bytes depend on `seed`,
    `difficulty`, `photos` and `minimum`, never on `workers` or on interruptions: what a killed
    run has written is kept, and the missing photos are drawn; a set that another process is
    writing is waited for. Returns the content of `root/generator.json`, which is written last;
    `root/plan.json`, written first, marks the folder as ours. With `generator.json` deleted, the
    set is checked for missing photos.

    Raises `UserError` for an unknown difficulty or split, for a minimum that the photos cannot
    hold, for a folder with other content, and for a disk that cannot be written.
    """
    root = Path(root)
    parameters = _parameters(photos, minimum, seed, difficulty)
    done = _finished(root, parameters)
    if done is not None:
        return done
    try:
        with alone(root / LOCK):
            done = _finished(root, parameters)  # by another process, in the meantime
            return done or _write(root, parameters, max(1, workers), progress)
    except OSError as error:
        raise UserError(
            f"cannot write garments to {root}: {advice(error)}, then run again"
        ) from None


def lead_categories(seed: int, split: str, photos: int, minimum: int) -> np.ndarray:
    """Category ids (photos,) of the garment that each photo of a split is drawn for.

    Every category gets `minimum` photos; the others follow the real set's frequencies.
    """
    ids = np.array([c.id for c in CATEGORIES])
    shares = np.array([FREQUENCIES[i] for i in ids], float)
    rng = _generator(_LEADS, seed, split, 0)
    free = rng.choice(ids, size=photos - minimum * len(ids), p=shares / shares.sum())
    return rng.permutation(np.concatenate([np.repeat(ids, minimum), free]))


def photo_of(seed: int, split: str, index: int, lead: int, difficulty: str):
    """Draw photo `index` (1-based) of a split; returns a `scene.Scene` and a JPEG quality."""
    rng = _generator(_DRAWING, seed, split, index)
    photo = draw_photo(lead, rng, DIFFICULTIES[difficulty], pair_id=index)
    return photo, int(rng.integers(72, 96))


def _generator(stream: int, seed: int, split: str, index: int) -> np.random.Generator:
    entropy = [stream, seed, SPLITS.index(split), index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _parameters(photos, minimum, seed, difficulty) -> dict:
    if difficulty not in DIFFICULTIES:
        names = ", ".join(DIFFICULTIES)
        raise UserError(f"unknown difficulty {difficulty!r}: choose one of {names}")
    for split in [*photos, *minimum]:
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}: choose of {', '.join(SPLITS)}")
    if seed < 0:
        raise UserError(f"seed {seed} is negative: choose 0 or more")
    for split, count in photos.items():
        least = minimum.get(split, 0)
        needed = max(0, least) * len(CATEGORIES)
        if least < 0 or count < needed:
            raise UserError(
                f"{count} photos in {split} cannot hold {least} garments of each of "
                f"{len(CATEGORIES)} categories: ask for {needed} photos or more"
            )
        if count > MOST:
            raise UserError(f"{count} photos in {split}: their names have room for {MOST}")
    return {
        "name": NAME,
        "version": VERSION,
        "seed": int(seed),
        "difficulty": difficulty,
        "photos": {s: int(photos[s]) for s in SPLITS if s in photos},
        "minimum": {s: int(minimum.get(s, 0)) for s in SPLITS if s in photos},
    }


def _finished(root: Path, parameters: dict) -> dict | None:
    """The stored record of a finished equal set; None where there is still work to do."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: choose a folder for the garments")
    record, plan = root / "generator.json", root / "plan.json"
    for path in (record, plan):
        if is_whole(path):
            stored = _stored(path)
            if {key: stored.get(key) for key in parameters} != parameters:
                raise UserError(
                    f"{root} holds garments made with other settings ({path.name}): "
                    "choose another folder or delete it"
                )
            if path == record:
                return stored
    begun = plan.exists()
    for path in root.rglob("*") if root.exists() else ():
        early = begun or path.is_dir() or _MARKER.fullmatch(path.name)
        if path.is_symlink() or not (early and _is_ours(path, root)):
            raise UserError(
                f"{root} holds {path.relative_to(root)}, which this generator did not write: "
                "choose an empty folder"
            )
    return None


def _stored(path: Path) -> dict:
    try:
        stored = json.loads(read_regular(path, SMALL))
    except (OSError, ValueError, RecursionError):
        stored = None
    return stored if isinstance(stored, dict) else {}


def _is_ours(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    if _MARKER.fullmatch(parts[0]):
        return True
    if parts[0] not in SPLITS or len(parts) > 3:
        return False
    if len(parts) > 1 and parts[1] not in ("image", "annos"):
        return False
    return len(parts) < 3 or _OURS.fullmatch(parts[2]) is not None


def _write(root: Path, parameters: dict, workers: int, progress: bool) -> dict:
    for split in SPLITS:
        for folder in ("image", "annos"):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
    write_bytes(root / "plan.json", _json(parameters), summed=True)
    jobs = _jobs(root, parameters)
    counts = {split: Counter() for split in parameters["photos"]}
    total = sum(len(job[2]) for job in jobs)
    with tqdm(total=total, desc="garments", unit="photo", disable=not progress) as bar:
        for job, found in _run(jobs, workers):
            counts[job[1]].update(found)
            bar.update(len(job[2]))
    record = parameters | {
        "garments": {s: {c.name: counts[s][c.id] for c in CATEGORIES} for s in counts}
    }
    os.sync()  # all photos at once: one by one would take longer than drawing them
    write_bytes(root / "generator.json", _json(record), summed=True)
    return record


def _jobs(root: Path, parameters: dict) -> list[tuple]:
    seed, difficulty = parameters["seed"], parameters["difficulty"]
    jobs = []
    for split, count in parameters["photos"].items():
        leads = lead_categories(seed, split, count, parameters["minimum"][split])
        numbered = [(i + 1, int(lead)) for i, lead in enumerate(leads)]
        jobs += [
            (root, split, numbered[k : k + _CHUNK], seed, difficulty)
            for k in range(0, count, _CHUNK)
        ]
    return jobs


def _run(jobs: list[tuple], workers: int):
    if workers == 1:
        threads = cv2.getNumThreads()
        _quiet()
        try:
            for job in jobs:
                yield job, _draw_chunk(*job)
        finally:
            cv2.setNumThreads(threads)
        return
    with Processes(workers, _quiet) as processes:
        futures = {processes.submit(_draw_chunk, *job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _quiet() -> None:
    """One thread a process: OpenCV's own would only compete with the other workers."""
    cv2.setNumThreads(1)


def _draw_chunk(root: Path, split: str, numbered: list, seed: int, difficulty: str) -> Counter:
    """Draw the missing photos of a chunk; returns how many garments of each category it holds."""
    found = Counter()
    for index, lead in numbered:
        image_path = root / split / "image" / f"{index:06d}.jpg"
        anno_path = root / split / "annos" / f"{index:06d}.json"
        annotation = _stored(anno_path) if image_path.exists() else {}
        if not annotation:
            photo, quality = photo_of(seed, split, index, lead, difficulty)
            annotation = photo.annotation
            _, data = cv2.imencode(".jpg", photo.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            _replace(image_path, data.tobytes())
            _replace(anno_path, json.dumps(annotation).encode())
        found.update(item["category_id"] for item in annotation.values() if isinstance(item, dict))
    return found


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)
