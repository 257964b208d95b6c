"""SLEAP's .slp, read and written by sleap-io, which the extra `sleap` brings.

Each skeleton is a category and each instance an object, by the photo that its frame is. Instances
that people made are read; predicted ones only where there are no others. It has no boxes, and a
point that is not visible has no place. Its places are counted from the centre of the first pixel,
half a pixel from the photo's corner. Frames of clips, and photos within a file, are not read.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.found import Found, Searched, kinds, whole
from fewshot_landmarks.data.formats.objects import Object, Photo, Read
from fewshot_landmarks.data.formats.values import mirrored, pixels, plain
from fewshot_landmarks.support.errors import UserError

SUFFIX = ".slp"
CORNER = 0.5  # of the photo, from the centre of its first pixel
MAGIC = b"\x89HDF"  # what HDF5 starts with


def read(source: Path, wanted: str | None) -> Read:
    """What a file says; raises `UserError` where it is not SLEAP's, `ModuleNotFoundError` without
    sleap-io.
    """
    if source.suffix == ".h5":
        raise UserError(
            f"{source} is not read: give the .slp, or of DeepLabCut the CollectedData_SCORER.csv"
        )
    import sleap_io

    try:
        labels = sleap_io.load_slp(str(source), open_videos=False)
        frames = [(frame, _name(frame.video, frame.frame_idx)) for frame in labels]
        skeletons = {id(each): k for k, each in enumerate(labels.skeletons, 1)}
        known = {k: _category(k, each) for k, each in enumerate(labels.skeletons, 1)}
    except Exception as error:  # h5py and sleap-io raise nearly anything for another's file
        why = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(
            f"{source} is HDF5, but no file of SLEAP's labels ({why}): save it as .slp"
        ) from None
    found = Read({}, [], categories=Categories(known.values()))
    if wanted is not None:
        found.categories = Categories([found.categories.find(wanted)])
    by_people = any(frame.user_instances for frame, _ in frames)
    item, elsewhere = 0, defaultdict(int)
    for frame, (name, size) in frames:
        if name is None:
            elsewhere[str(frame.video.filename)] += 1
            continue
        number = len(found.photos) + 1
        found.photos[number] = Photo(number, name, *size)
        own = frame.user_instances if by_people else frame.predicted_instances
        for k, instance in enumerate(own, 1):
            item += 1
            category = known[skeletons[id(instance.skeleton)]]
            if category.id in found.categories:
                called = f"{name}: instance {k}" if len(own) > 1 else str(name)
                found.objects.append(
                    Object(called, number, item, category, _marks(instance), None, None)
                )
    for video, count in elsewhere.items():
        found.skipped.append(
            f"{video}: {count} labelled frames of it are no photos of their own: save them as photos"
        )
    return found


def _name(video, frame: int) -> tuple[Path | None, tuple[int | None, int | None]]:
    """The photo that a frame is, None for another frame, and its width and height."""
    about = video.backend_metadata
    names = video.filename if isinstance(video.filename, list) else about.get("filenames")
    if not isinstance(names, list) or not 0 <= frame < len(names):
        return None, (None, None)
    shape = about.get("shape") or (0, 0, 0, 0)
    return Path(PureWindowsPath(str(names[frame])).as_posix()), (pixels(shape[2]), pixels(shape[1]))


def _category(number: int, skeleton) -> Category:
    names = tuple(plain(node.name) for node in skeleton.nodes)
    place = {id(node): k for k, node in enumerate(skeleton.nodes)}
    edges = tuple((place[id(e.source)], place[id(e.destination)]) for e in skeleton.edges)
    ends = [[place[id(node)] for node in each.nodes] for each in skeleton.symmetries]
    pairs = sorted((min(each), max(each)) for each in ends)
    name = plain(skeleton.name or "") or str(number)
    return Category(number, name, len(names), tuple(pairs) or mirrored(names), edges, (), names)


def _marks(instance) -> list[float]:
    points = np.asarray(instance.numpy(), float) + CORNER  # NaN where it is not visible
    there = np.isfinite(points).all(1, keepdims=True)
    return np.hstack([np.where(there, points, 0), 2 * there]).ravel().tolist()


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """One file for all photos; raises `ModuleNotFoundError` without sleap-io."""
    import sleap_io  # noqa: F401

    return [out]


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, bytes]]:
    """Objects are predicted instances, or instances where somebody annotated them. Photos of one size are a video's frames, as SLEAP asks."""
    import sleap_io

    skeletons = {number: _skeleton(one) for number, one in kinds(photos).items()}
    by_size = defaultdict(list)
    for photo in photos:
        by_size[photo.width, photo.height].append(photo)
    frames = []
    for (width, height), those in by_size.items():
        video = _video([_place(photo) for photo in those], width, height)
        for number, photo in enumerate(those):
            instances = [_instance(one, skeletons[one.category]) for one in photo.objects]
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=number, instances=instances))
    labels = sleap_io.Labels(frames, skeletons=list(skeletons.values()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "labels.slp")
        sleap_io.save_slp(labels, str(file), embed=False, verbose=False)
        content = file.read_bytes()
    yield out, content


def _place(photo: Searched) -> str:
    return photo.name if photo.path.suffix.lower() == ".json" else whole(photo.path)


def _video(names: list[str], width: int, height: int):
    """Photos as a video. They are not opened: sleap-io reads fewer forms, and turns none."""
    import sleap_io

    about: dict[str, object] = {"type": "ImageVideo", "filename": names[0], "filenames": names}
    about |= {"shape": (len(names), height, width, 3), "grayscale": False}
    about |= {"height_": height, "width_": width, "channels_": 3}
    return sleap_io.Video(filename=names, open_backend=False, backend_metadata=about)


def _skeleton(one: Found):
    import sleap_io

    pairs = [tuple(one.names[k] for k in pair) for pair in mirrored(one.names)]
    edges = [(one.names[a], one.names[b]) for a, b in one.edges]
    return sleap_io.Skeleton(list(one.names), edges, [set(pair) for pair in pairs], name=one.kind)


def _instance(one: Found, skeleton):
    import sleap_io

    points = np.where(one.visible[:, None] > 0, one.points - CORNER, np.nan)
    if one.score is None:
        return sleap_io.Instance.from_numpy(points, skeleton=skeleton)
    return sleap_io.PredictedInstance.from_numpy(
        points, skeleton=skeleton, point_scores=one.scores, score=one.score
    )
