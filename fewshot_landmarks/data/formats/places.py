"""Which files the photos are that annotations speak of, and whether they are as annotated."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from urllib.parse import unquote

from fewshot_landmarks.data.formats.objects import Photo, Read
from fewshot_landmarks.data.formats.values import folded
from fewshot_landmarks.data.images import SUFFIXES, Unreadable, contradicts, upright_size
from fewshot_landmarks.support.errors import UserError

BESIDE = "images", "image"  # folders of photos beside annotations; DeepFashion2 has the second
DEEPEST = 20  # folders of a photo's name that are tried


def find_photos(
    source: Path, read: Read, images: str | os.PathLike | None, needed: bool = True
) -> tuple[list[Photo], dict[object, int]]:
    """The photos that are there as annotated, and where among them each of `read.photos` is.

    Where they are not `needed`, those that are not there count too, unless places are shares of
    their sides. What is left out, and what is found under another name, has a line in `read`.
    Raises `UserError` where none is there.
    """
    beside = source if source.is_dir() else source.parent
    folders = [Path(images)] if images else [beside, *(beside / name for name in BESIDE)]
    files = _files(read, folders)
    photos, place, by_path, otherwise = [], {}, {}, []
    for key, photo in read.photos.items():
        path = files.get(key) or (None if needed else photo.path)
        lacking = "is not there, or empty, or another photo by its name"
        why = lacking if path is None else _contradicted(path, photo)
        if read.unsized and path is not None and not why:
            try:
                width, height = upright_size(path)
                photo = replace(photo, width=width, height=height)
            except Unreadable as reason:
                why = f"{reason}" if read.relative else ""
        if path is None and photo.stem not in ("", photo.name):
            why += f", and {photo.stem}.json has none of its own name"
        if why or path is None:
            read.skipped.append(f"photo {photo.path}: {why}; its annotations are left out")
            continue
        if path in by_path:
            first = photos[by_path[path]]
            read.skipped.append(f"photo {photo.path}: listed again; taken as photo {first.id}")
            photos[by_path[path]] = replace(
                first, keys=first.keys + photo.keys, stated=first.stated | {photo.name}
            )
        else:
            by_path[path] = len(photos)
            photos.append(replace(photo, path=path, stated=frozenset([photo.name])))
        place[key] = by_path[path]
        if photo.name not in (photo.stem, photos[place[key]].name) and key in files:
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
    name without a photo's ending stands for the one photo of that stem. A photo of LabelMe's that
    is not found is the one called as its own file. A file that several photos would be is that of
    the one that is called so, if there is one.
    """
    there, photos = _There(folders), read.photos
    files = {key: photo.path if photo.called else there.first([photo.path])
             for key, photo in photos.items()}  # fmt: skip
    missing = [key for key, path in files.items() if path is None]
    names = {photo.path for photo in photos.values()} if missing else ()
    alike = Counter(ending for name in names for ending in _endings(name))
    for key in missing:
        photo = photos[key]
        endings = [e for e in _endings(photo.path) if e == photo.path or alike[e] == 1]
        path = there.first(endings)
        if path is None and photo.path.suffix.lower() not in SUFFIXES:
            path = there.of_stem(endings)
        files[key] = path or there.of_stem([Path(photo.stem)])
    claims = defaultdict(set)
    for key, path in files.items():
        claims[path].add((photos[key].path, photos[key].stem))
    for key in [key for key, path in files.items() if path and len(claims[path]) > 1]:
        if not there.calls(files[key], photos[key]):  # type: ignore[arg-type]
            path = there.of_stem([Path(photos[key].stem)])
            files[key] = None if path in claims else path
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

    def of_stem(self, stems: Iterable[Path]) -> Path | None:
        """The only photo of the first such name without its ending that there is."""
        for stem, folder in product(stems, self._folders):
            listing = self._listing(folder / stem.parent) if stem.name else {}
            names = [name for name in listing.get(folded(stem.name) + ".", ())
                     if Path(name).suffix.lower() in SUFFIXES]  # fmt: skip
            if len(names) == 1:
                return _usable(folder / stem.parent / names[0])
        return None

    def calls(self, path: Path, photo: Photo) -> bool:
        """Whether a file is called just as a photo is; LabelMe's, as its own file."""
        if photo.stem:
            return folded(path.stem) == folded(photo.stem)
        return any(Path(os.path.normpath(each / photo.path)) == path for each in self._folders)

    def _file(self, folder: Path, name: Path) -> Path | None:
        if (exact := _usable(folder / name)) is not None:
            return exact
        for part in name.parts:
            listing = self._listing(folder)
            names = listing[folded(unquote(part))] or listing[_uploaded(part)]
            if len(names) != 1:
                return None
            folder = folder / names[0]
        return _usable(folder)

    def _listing(self, folder: Path) -> Mapping[str, list[str]]:
        """Names in a folder by their folded form, decoded or not, by their stem and a dot, and by
        what an upload makes of them.
        """
        if folder not in self._listings:
            found = self._listings[folder] = defaultdict(list)
            try:
                names = os.listdir(folder)
            except (OSError, ValueError):
                names = []
            for name in names:
                forms = {folded(name), folded(unquote(name)), folded(Path(name).stem) + "."}
                for form in forms | {_uploaded(name)}:
                    found[form].append(name)
        return self._listings[folder]


def _uploaded(name: str) -> str:
    """A slash, and what Label Studio calls an uploaded photo of a name: without spaces and signs."""
    return "/" + re.sub(r"[^-\w.]", "", folded(name).replace(" ", "_"))


def _usable(path: Path) -> Path | None:
    """The path, normalised, if it is that of a file that is not empty."""
    name = os.path.normpath(path)
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return Path(name) if stat.S_ISREG(found.st_mode) and found.st_size else None


def _contradicted(path: Path, photo: Photo) -> str:
    """That the photo is of another size than its annotations say, if so, even if it is turned."""
    said = photo.declared
    if said is None or (size := contradicts(path, said)) is None:
        return ""
    return (
        f"is {size[0]} x {size[1]}, and was annotated as {said[0]} x {said[1]}: give the photo as "
        "it was, or annotate this one"
    )
