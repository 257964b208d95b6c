"""What was clicked and found as a file, in the forms that `predict --format` writes."""

import io
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fewshot_landmarks.data.formats import writing
from fewshot_landmarks.data.formats.found import Found, Searched
from fewshot_landmarks.photos.page.session import Session
from fewshot_landmarks.support.errors import UserError

CATEGORY = "object"
FORMS = [form for form in writing.FORMS if form != "sleap" or find_spec("sleap_io")]
# Where photos lie for the forms that say so: what leads there from a file leads to the same folders
# on the visitor's side.
ROOT = Path("/photos")
NAMES = {
    "coco": "landmarks.json",
    "labelme": "",
    "cvat": "annotations.xml",
    "label-studio": "tasks.json",
    "yolo": "",
    "deeplabcut": "CollectedData_page.csv",
    "sleap": "landmarks.slp",
}
_BEGAN = 1980, 1, 1, 0, 0, 0  # so that the same work gives the same bytes


def written(session: Session, form: str, found: bool) -> tuple[str, bytes]:
    """A file's name and content: annotated photos, and those found too where `found`.

    Several files come as one .zip. Raises `UserError` where there is nothing, or the form cannot
    hold it.
    """
    if form not in FORMS:
        raise UserError(f"there is no form of this name: choose one of {', '.join(FORMS)}")
    out = ROOT / NAMES[form]
    photos = list(_searched(session, ROOT / "images" if form == "yolo" else ROOT, found))
    if not photos:
        raise UserError("there is nothing to download yet: click landmarks in a photo first")
    writing.check_names(form, [(CATEGORY, session.names)])
    writing.files(form, out, [(photo.path, photo.name) for photo in photos])  # or why it cannot
    files = [
        (path, content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        for path, content in writing.FORMS[form].contents(out, photos)
    ]
    if len(files) == 1 and form not in writing.FOLDERS:
        return out.name, files[0][1]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files:
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(ROOT).as_posix(), _BEGAN),
                content,
                zipfile.ZIP_DEFLATED,
            )
    return f"{form}.zip", packed.getvalue()


def _searched(session: Session, folder: Path, found: bool) -> Iterator[Searched]:
    """Photos with the object of each. A landmark is visible, or not labelled: where it is not
    known, not visible, or found outside the photo."""
    annotated = set(session.annotated)
    for number, (name, photo) in enumerate(session.photos.items(), 1):
        clicked = name in annotated
        if not clicked and not (found and name in session.found and name not in session.marks):
            continue
        points, scores = session.placed(name), np.zeros(len(session.names))
        box, score = session.box(name) if clicked else session.found[name].box, None
        if not clicked:
            one = session.found[name]
            points[: len(one.points)] = one.points
            scores[: len(one.scores)] = one.scores
            scores, score = scores.round(4), round(float(scores.mean()), 4)
        x1, y1, x2, y2 = (round(float(edge), 2) for edge in box)
        sides = x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)
        seen = 2 * np.isfinite(points).all(-1)
        places = np.round(np.nan_to_num(points).astype(float), 2)
        made = Searched(number, folder / name, name, photo.width, photo.height)
        made.objects.append(Found(1, CATEGORY, session.names, places, scores, seen, sides, score))
        yield made
