"""Contact sheets: garments of every category with their landmarks, for a look by eye."""

from pathlib import Path

import cv2
import numpy as np

from fewshot_landmarks.categories import CATEGORIES
from fewshot_landmarks.data.garments.writer import photo_of
from fewshot_landmarks.errors import UserError

VISIBLE, OCCLUDED = (60, 60, 255), (255, 220, 0)  # BGR


def contact_sheet(
    columns: int, seed: int, difficulty: str, size: int = 260, categories=None, marks: bool = True
) -> np.ndarray:
    """A picture with a row of `columns` garments for each category, numbered landmarks on them.

    Red landmarks are visible, cyan ones occluded; `categories` limits the rows by id, `marks`
    turns the landmarks off.
    """
    rows = []
    for category in CATEGORIES:
        if categories and category.id not in categories:
            continue
        cells = []
        for column in range(columns):
            photo, _ = photo_of(seed, "train", 1000 * category.id + column, category.id, difficulty)
            cells.append(_cell(photo.image, photo.annotation["item1"], size, marks))
        title = f"{category.id} {category.name}"
        cv2.putText(cells[0], title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
        cv2.putText(cells[0], title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def write_sheet(path: Path, columns: int, seed: int, difficulty: str, **options) -> None:
    """Write a contact sheet as the picture `path`; its ending decides the format."""
    sheet = contact_sheet(columns, seed, difficulty, **options)
    try:
        coded, data = cv2.imencode(Path(path).suffix or ".png", sheet)
        if not coded:
            raise OSError("the picture could not be encoded")
        Path(path).write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        raise UserError(f"cannot write the sheet {path}: {error}; choose a .png path") from None


def _cell(image: np.ndarray, item: dict, size: int, marks: bool) -> np.ndarray:
    """A square crop around an item with a margin, enlarged to `size` pixels."""
    x1, y1, x2, y2 = item["bounding_box"]
    side = max(x2 - x1, y2 - y1) * 1.15
    centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    scale = size / side
    shift = size / 2 - centre * scale
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    cell = cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_CUBIC)
    cv2.rectangle(cell, (0, 0), (size - 1, size - 1), (255, 255, 255), 1)
    if not marks:
        return cell
    for number, (x, y, v) in enumerate(np.reshape(item["landmarks"], (-1, 3)), start=1):
        if v:
            at = tuple(int(c) for c in np.round(np.array([x, y]) * scale + shift))
            colour = VISIBLE if v == 2 else OCCLUDED
            cv2.circle(cell, at, 2, colour, -1, cv2.LINE_AA)
            cv2.putText(
                cell,
                str(number),
                (at[0] + 3, at[1] - 2),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.32,
                (0, 0, 0),
                2,
            )
            cv2.putText(
                cell, str(number), (at[0] + 3, at[1] - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.32, colour, 1
            )
    return cell
