"""YOLO's pose labels: a text file a photo, and a data.yaml that says what their numbers are.

A line is an object: its class, its box's centre and sides, and x and y of each landmark, with or
without its visibility, all as shares of the photo's sides. Labels lie in a folder `labels` beside
one of `images`, or beside the photos. Without visibility 0, 0 is a landmark that is not labelled.
What a model has predicted has its confidence in visibility's place, and the object's at the end:
they are not read, with a line that says so.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import repr as brief

import yaml

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.found import Found, Searched, a_file_each, between, kinds
from fewshot_landmarks.data.formats.objects import Object, Photo, Read
from fewshot_landmarks.data.formats.values import Bad, marks, mirrored, numbers, plain, whole
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular

SUFFIX = ""
CONFIG = "data.yaml"
ENDINGS = ".yaml", ".yml"
LARGEST = 2**20  # bytes of a data.yaml
MOST = 10_000  # landmarks of a class


def configured(folder: Path) -> Path | None:
    """The file of a folder that says what the labels of keypoints in it are, if there is one."""
    there = sorted(path for path in folder.glob("*.y*ml") if path.suffix in ENDINGS)
    there.sort(key=lambda path: path.name != CONFIG)
    for path in there:
        try:
            if b"kpt_shape" in read_regular(path, LARGEST):
                return path
        except OSError:
            continue
    return None


def read(source: Path, wanted: str | None) -> Read:
    """What the labels below the folder of a data.yaml say, or below the folder that it names.

    Raises `UserError` where it does not say what the labels are, or there are none.
    """
    lines: list[str] = []
    said = _said(source)
    known, shape = _categories(source, said, lines)
    found = Read({}, lines, unsized=True, relative=True)
    found.categories = Categories(known.values())
    if wanted is not None:
        found.categories = Categories([found.categories.find(wanted)])
    root, labels = _labels(source, said.get("path"))
    item, confident = 0, []
    for number, path in enumerate(labels, 1):
        found.photos[number] = _photo(number, root, path, source)
        try:
            rows = read_regular(path).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            lines.append(f"{path.relative_to(root)}: cannot be read: {error}")
            continue
        for k, row in enumerate(rows, 1):
            name = f"{path.relative_to(root)}: line {k}"
            try:
                if row.strip():
                    item += 1
                    one, sure = _object(name, row, number, item, known, shape)
                    if one.category.id in found.categories:
                        found.objects.append(one)
                        confident += [name] if sure else []
            except Bad as reason:
                lines.append(f"{name}: {reason}")
    if confident:
        more = f" and {len(confident) - 1} more" if len(confident) > 1 else ""
        found.notes.append(
            f"{confident[0]}{more}: a model's confidence stands at the end, or in place of "
            "visibility (0, 1 or 2): it is not read, and landmarks with one are taken as visible"
        )
    return found


def _said(source: Path) -> dict:
    try:
        said = yaml.safe_load(read_regular(source, LARGEST))
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{source} is not YAML: {why}") from None
    return said if isinstance(said, dict) else {}


def _categories(
    source: Path, said: dict, lines: list[str]
) -> tuple[dict[int, Category], tuple[int, int]]:
    """The classes by their numbers, and how many landmarks of how many numbers a line has; raises
    `UserError`.
    """
    shape = said.get("kpt_shape")
    if not (isinstance(shape, list) and len(shape) == 2 and whole(shape[1]) in (2, 3)):
        raise UserError(
            f"{source} says no kpt_shape, the number of landmarks and 2 or 3 numbers of each, as "
            f"[4, 3]: {brief(shape)}; give the data.yaml of a YOLO pose data set"
        )
    landmarks = whole(shape[0])
    if not landmarks or not 0 < landmarks <= MOST:
        raise UserError(f"{source}: kpt_shape has {brief(shape[0])} landmarks")
    pairs, names = _pairs(said.get("flip_idx"), landmarks, lines), _by_number(said.get("names"))
    every = said.get("kpt_names", said.get("node_names"))  # the latter of sleap-io's
    own = _by_number(every) if isinstance(every, dict) else dict.fromkeys(names, every)
    found = {}
    for number, name in names.items():
        told = own.get(number)
        if told is not None and not (isinstance(told, list) and 0 < len(told) <= landmarks):
            lines.append(f"{source.name}: kpt_names of {name} are not {landmarks}; left out")
            told = None
        called = tuple(map(plain, told or ()))
        count = len(called) or landmarks
        flips = tuple(pair for pair in pairs if max(pair) < count)
        found[number] = Category(
            number, plain(name) or str(number), count, flips or mirrored(called), (), (), called
        )
    if not found:
        raise UserError(f"{source} says no names of classes, as names: {{0: dress}}")
    return found, (landmarks, int(shape[1]))


def _by_number(said: object) -> dict:
    """A list, or what is said by number, by number."""
    rows = (
        said.items()
        if isinstance(said, dict)
        else enumerate(said if isinstance(said, list) else ())
    )
    return {number: value for key, value in rows if (number := whole(key)) is not None}


def _pairs(said: object, landmarks: int, lines: list[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of mirrored landmarks, of the places that flip_idx gives them."""
    if said is None:
        return ()
    if not (
        isinstance(said, list) and sorted(map(str, said)) == sorted(map(str, range(landmarks)))
    ):
        lines.append(f"flip_idx is not the numbers of {landmarks} landmarks; left out")
        return ()
    return tuple((i, int(k)) for i, k in enumerate(said) if i < int(k) and int(said[int(k)]) == i)


def _labels(source: Path, elsewhere: object) -> tuple[Path, list[Path]]:
    """The folder below which the labels lie, and their files; raises `UserError`."""
    roots = [source.parent]
    if isinstance(elsewhere, str):
        roots.append(source.parent / elsewhere)
    for root in roots:
        every = sorted(path for path in root.rglob("[!.]*.txt") if path.name != "classes.txt")
        if own := [path for path in every if "labels" in path.relative_to(root).parts[:-1]]:
            return root, own
        if beside := [path for path in every if path.parent == root]:
            return root, beside
    raise UserError(
        f"no labels of {source}: a file a photo in a folder labels, or beside the photos and it"
    )


def _photo(number: int, root: Path, path: Path, source: Path) -> Photo:
    """A photo by the name of its labels, which say no more of it."""
    parts = [*path.relative_to(root).parts[:-1], path.stem]
    places = [k for k, part in enumerate(parts[:-1]) if part == "labels"]
    for k in places[-1:]:
        parts[k] = "images"
    name = Path(*parts)
    return Photo(number, name if root == source.parent else root / name, None, None, stem=path.stem)


def _object(
    name: str,
    row: str,
    photo: int,
    item: int,
    known: dict[int, Category],
    shape: tuple[int, int],
) -> tuple[Object, bool]:
    """An object with its places as shares of the photo's sides, and whether its line has
    confidences; raises `Bad`.
    """
    try:
        values = [float(text) for text in row.split()]
    except ValueError:
        raise Bad(f"not numbers: {brief(row)}") from None
    numbers(values, "it")
    category = known.get(int(values[0])) if values[0] == int(values[0]) else None
    if category is None:
        raise Bad(f"its class {values[0]:g} is none of the names")
    if len(values) < 5:
        raise Bad(f"has {len(values)} numbers, too few for a class and a box")
    x, y, width, height = values[1:5]
    box = (
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2) if any(values[1:5]) else None
    )
    places, sure = _places(values[5:], category, *shape)
    return Object(name, photo, item, category, places, box, None), sure


def _places(
    values: list[float], category: Category, most: int, each: int
) -> tuple[list[float], bool]:
    """x, y and visibility of a category's landmarks, of which others may have more, and whether
    there are confidences; raises `Bad`.
    """
    lengths = 0, 2 * most, 3 * most
    last = len(values) not in lengths and len(values) - 1 in (0, each * most)
    sure = last and 0 <= values[-1] <= 1
    values = values[:-1] if sure else values
    if len(values) not in lengths:
        raise Bad(
            f"has {len(values)} numbers after its box, and {most} landmarks have {2 * most} or "
            f"{3 * most}"
        )
    seen = values[2::3] if len(values) == 3 * most else []
    if odd := [value for value in seen if value not in (0, 1, 2)]:
        if not all(0 <= value <= 1 for value in seen):
            raise Bad(f"has the visibility {odd[0]:g}, which is not 0, 1 or 2")
        triples, sure = zip(*[iter(values)] * 3), True
        values = [n for x, y, value in triples for n in ((x, y) if value else (0, 0))]
    if len(values) == 2 * most:
        pairs = zip(values[::2], values[1::2])
        values = [n for x, y in pairs for n in (x, y, 2 if x or y else 0)]
    own = values[: 3 * category.landmarks] or [0] * 3 * category.landmarks
    return marks(own, "it", category.landmarks), sure


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """A file a photo in the folder `labels`, and a data.yaml."""
    each = a_file_each("YOLO", photos, lambda _, name: _file(out, name))
    return [*each, out / CONFIG]


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """Classes are numbered in the order of their categories' ids."""
    if not photos:
        return
    every = dict(sorted(kinds(photos).items()))
    classes = {number: k for k, number in enumerate(every)}
    landmarks = max(len(one.names) for one in every.values())
    for photo in photos:
        rows = [_row(one, classes[one.category], photo, landmarks) for one in photo.objects]
        yield _file(out, photo.name), "\n".join(rows) + "\n"
    every_folder = {between(out, photo.path.parent) for photo in photos}
    folders = sorted(
        each for each in every_folder if not any(each.startswith(f"{f}/") for f in every_folder)
    )
    said = {
        "train": folders if len(folders) > 1 else folders[0],
        "val": folders if len(folders) > 1 else folders[0],
        "kpt_shape": [landmarks, 3],
        "names": {classes[number]: one.kind for number, one in every.items()},
        "kpt_names": {classes[number]: list(one.names) for number, one in every.items()},
    }
    flips = {tuple(_flips(one.names, landmarks)) for one in every.values()}
    if len(flips) == 1 and flips != {tuple(range(landmarks))}:
        said["flip_idx"] = list(flips.pop())
    text = yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=1000)
    yield out / CONFIG, text


def _file(out: Path, name: str) -> Path:
    return (out / "labels" / name).with_suffix(".txt")


def _flips(names: Sequence[str], landmarks: int) -> list[int]:
    """Where each landmark is in the mirrored photo, as far as names tell."""
    found = list(range(landmarks))
    for i, j in mirrored(names):
        found[i], found[j] = j, i
    return found


def _row(one: Found, number: int, photo: Searched, landmarks: int) -> str:
    size = photo.width, photo.height
    x1, y1, x2, y2 = photo.box_within(one)
    values = [(x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1],
              (x2 - x1) / size[0], (y2 - y1) / size[1]]  # fmt: skip
    for (x, y), visible in zip(one.points.tolist(), one.visible.tolist()):
        values += [x / size[0], y / size[1], visible] if visible else [0, 0, 0]
    values += [0, 0, 0] * (landmarks - len(one.names))
    return " ".join([str(number), *(f"{value:.8g}" for value in values)])
