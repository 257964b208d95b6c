"""Which files the photos are that annotations speak of, and whether they are as annotated."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from fewshot_landmarks.data.objects import Photo, Read
from fewshot_landmarks.data.values import folded
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.photos import SUFFIXES, stored_size

DEEPEST = 20  # folders of a photo's name that are tried


def find_photos(
    source: Path, read: Read, images: str | os.PathLike | None, needed: bool = True
) -> tuple[list[Photo], dict[object, int]]:
    """The photos that are there as annotated, and where among them each of `read.photos` is.

    Where they are not `needed`, those that are not there count too. What is left out, and what is
    found under another name, has a line in `read`. Raises `UserError` where none is there.
    """
    beside = source if source.is_dir() else source.parent
    folders = [Path(images)] if images else [beside, beside / "images"]
    files = _files(read, folders)
    photos, place, by_path, otherwise = [], {}, {}, []
    for key, photo in read.photos.items():
        path = files.get(key) or (None if needed else photo.path)
        why = "is not there, or empty" if path is None else _contradicted(path, photo)
        if path is None and photo.stem:
            why += f", or another file has it, and {photo.stem}.json has none of its own name"
        if why:
            read.skipped.append(f"photo {photo.path}: {why}; its annotations are left out")
            continue
        if path in by_path:
            first = photos[by_path[path]].id
            read.skipped.append(f"photo {photo.path}: listed again; taken as photo {first}")
        else:
            by_path[path] = len(photos)
            photos.append(replace(photo, path=path))
        place[key] = by_path[path]
        if photo.name != photos[-1].name and key in files:
            otherwise.append(f"{photo.name} as {path.name}")
    if read.photos and not files and needed:
        raise UserError(
            f"none of the {len(read.photos)} photos of {source} is found, among them "
            f"{min(photo.path for photo in read.photos.values())}: they are not in "
            f"{' or '.join(map(str, folders))}; say which folder they are in, by --images "
            "(compare: --support-images, --query-images)"
        )
    if otherwise:
        more = f", and {len(otherwise) - 1} more" if len(otherwise) > 1 else ""
        read.notes.append(f"found under another name: {otherwise[0]}{more}")
    return photos, place


def _files(read: Read, folders: Sequence[Path]) -> dict[object, Path]:
    """The file of each photo that is found.

    Names are tried without their first folders where no other photo's name ends in the same. A
    name without a photo's ending stands for the one photo of that stem; and a photo of LabelMe's
    that is not found, or that another of its files names with more right, is the one called as its
    own file.
    """
    there, files = _There(folders), {}
    names = {photo.path for photo in read.photos.values()}
    alike = Counter(ending for name in names for ending in _endings(name))
    for key, photo in read.photos.items():
        endings = [e for e in _endings(photo.path) if e == photo.path or alike[e] == 1]
        path = photo.path if photo.called else there.first(endings)
        if path is None and photo.path.suffix.lower() not in SUFFIXES:
            path = there.of_stem(photo.path.name)
        path = path or there.of_stem(photo.stem)
        if path is not None:
            files[key] = path
    own = {key: folded(path.stem) == folded(read.photos[key].stem) for key, path in files.items()}
    claims, owned = Counter(files.values()), {files[key] for key, yes in own.items() if yes}
    for key in [key for key, path in files.items() if claims[path] > 1 and not own[key]]:
        if stem := read.photos[key].stem:
            path = there.of_stem(stem)
            files[key] = path if path not in owned else None
    return {key: path for key, path in files.items() if path is not None}


def _endings(path: Path) -> list[Path]:
    """The path, and what is left of it without its first folders."""
    return [path, *(Path(*path.parts[k:]) for k in range(1, len(path.parts))[-DEEPEST:])]


class _There:
    """Files of some folders, whatever their names' case, spaces, form of Unicode or encoding."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._listings: dict[Path, Mapping[str, list[str]]] = {}

    def first(self, names: Iterable[Path]) -> Path | None:
        """The first that is there and not empty."""
        tried = (self._file(folder, name) for name in names for folder in self._folders)
        return next((path for path in tried if path), None)

    def of_stem(self, stem: str) -> Path | None:
        """The only photo of that name without its ending."""
        for folder in self._folders if stem else ():
            names = [name for name in self._listing(folder)[folded(stem) + "."]
                     if Path(name).suffix.lower() in SUFFIXES]  # fmt: skip
            if len(names) == 1:
                return _usable(folder / names[0])
        return None

    def _file(self, folder: Path, name: Path) -> Path | None:
        if (exact := _usable(folder / name)) is not None:
            return exact
        for part in name.parts:
            names = self._listing(folder)[folded(unquote(part))]
            if len(names) != 1:
                return None
            folder = folder / names[0]
        return _usable(folder)

    def _listing(self, folder: Path) -> Mapping[str, list[str]]:
        """Names in a folder by their folded form, decoded or not, and by their stem and a dot."""
        if folder not in self._listings:
            found = self._listings[folder] = defaultdict(list)
            try:
                names = os.listdir(folder)
            except (OSError, ValueError):
                names = []
            for name in names:
                for form in {folded(name), folded(unquote(name)), folded(Path(name).stem) + "."}:
                    found[form].append(name)
        return self._listings[folder]


def _usable(path: Path) -> Path | None:
    """The path, normalised, if it is that of a file that is not empty."""
    path = Path(os.path.normpath(path))
    return path if os.path.isfile(path) and os.path.getsize(path) else None


def _contradicted(path: Path, photo: Photo) -> str:
    """That the photo is of another size than its annotations say, if so, even if it is turned."""
    if not (photo.width and photo.height) or (size := stored_size(path)) is None:
        return ""
    width, height, turned = size
    said = photo.width, photo.height
    if said == (width, height) or (turned and said == (height, width)):
        return ""
    return (
        f"is {width} x {height}, and was annotated as {said[0]} x {said[1]}: give the photo as it "
        "was, or annotate this one"
    )
