"""Found landmarks as annotators open them, in any of the `FORMS` of `predict --format`.

`read_annotations` reads them again with the same names and places, and boxes where a form has them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fewshot_landmarks.data.formats import coco
from fewshot_landmarks.data.formats.annotators import (
    cvat,
    deeplabcut,
    label_studio,
    labelme,
    sleap,
    yolo,
)
from fewshot_landmarks.data.formats.found import Searched
from fewshot_landmarks.data.formats.values import repeated
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import advice, write_bytes, write_text
from fewshot_landmarks.support.names import listed
from fewshot_landmarks.support.outputs import unchanged

FORMS: dict[str, ModuleType] = {
    "coco": coco,
    "labelme": labelme,
    "cvat": cvat,
    "label-studio": label_studio,
    "yolo": yolo,
    "deeplabcut": deeplabcut,
    "sleap": sleap,
}
FOLDERS = [form for form, module in FORMS.items() if not module.SUFFIX]  # of several files
BY_ORDER = "coco", "yolo"  # forms that tell landmarks by their order, not by their names


def check_folder(form: str, out: Path, read: Path | None) -> Path:
    """The folder for a form of several files, with a name of its own; `read` are annotations that
    are read.

    Raises `UserError` where `out` is no folder or holds these annotations.
    """
    named_as_file = out.suffix and out.suffix in {each.SUFFIX for each in FORMS.values()}
    if named_as_file or (out.exists() and not out.is_dir()):
        raise UserError(f"--out {out}: {form} has a file a photo; give the name of a folder")
    if read and read.exists() and out.exists() and out.samefile(read):
        raise UserError(f"--out {out} holds the annotations that are read: choose another folder")
    named = out if out.name not in ("", "..") else Path(os.path.abspath(out))
    if not named.name:
        raise UserError(f"--out {out}: give the name of a folder in it")
    return named


def check_file(form: str, out: Path) -> str:
    """What the name of a form's file ends in; raises `UserError` where it has to say more."""
    if form == "deeplabcut":
        deeplabcut.check_name(out)
    return FORMS[form].SUFFIX


def files(form: str, out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """Which files are written for some photos, each its path and name.

    Raises `UserError` where the form cannot hold them.
    """
    return FORMS[form].files(out, photos)


def check_names(form: str, kinds: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise `UserError` where a form cannot tell landmarks by their names, or categories at all.

    kinds: of each category its name and its landmarks'.
    """
    for kind, names in kinds:
        same = repeated(names)
        if form not in BY_ORDER and (same or "" in names):
            why = f"share the names {listed(same)}" if same else "have an empty name"
            raise UserError(
                f"--format {form}: landmarks of {kind} {why}, and names alone tell them apart "
                "there: give --format coco"
            )
    if form == "deeplabcut" and len(kinds) > 1:
        raise UserError(
            f"--format deeplabcut: there are the categories {listed(kind for kind, _ in kinds)}, and "
            "a file of DeepLabCut's has one: choose one, --category"
        )


def write(
    form: str, out: Path, photos: Sequence[Searched], named: Sequence[tuple[Path, str]]
) -> None:
    """Write the photos' objects to `out`, in files that `files` names; remove those of an earlier
    search that are left of the other photos in `named`.

    Raises `UserError` where somebody has changed one of the files since they were claimed.
    """
    module = FORMS[form]
    found = module.files(out, [(photo.path, photo.name) for photo in photos])
    every = module.files(out, named)
    unchanged(every, None)
    for path, content in module.contents(out, photos):
        unchanged([path], None)  # again, for writing many takes long
        (write_text if isinstance(content, str) else write_bytes)(path, content)
    for path in set(every) - set(found):
        unchanged([path], None)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot remove {path}: {advice(error)}") from None
