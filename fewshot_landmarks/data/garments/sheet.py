"""Contact sheets: garments of every category with their landmarks, for a look by eye."""

from pathlib import Path

import numpy as np

from fewshot_landmarks.data.categories import CATEGORIES
from fewshot_landmarks.data.drawing import check_picture, contact_sheet, object_cell, write_picture
from fewshot_landmarks.data.garments.writer import photo_of


def garment_sheet(
    columns: int, seed: int, difficulty: str, size: int = 260, categories=None, marks: bool = True
) -> np.ndarray:
    """A picture (RGB) with a row of `columns` garments for each category.

    Numbered dots are visible landmarks, rings occluded ones; `categories` limits the rows by id,
    `marks` turns the landmarks off.
    """
    cells, titles = [], []
    for category in CATEGORIES:
        if categories and category.id not in categories:
            continue
        for column in range(columns):
            photo, _ = photo_of(seed, "train", 1000 * category.id + column, category.id, difficulty)
            item = photo.annotation["item1"]
            *points, visible = np.reshape(item["landmarks"], (-1, 3)).T
            cells.append(
                object_cell(
                    photo.image[:, :, ::-1],
                    np.column_stack(points),
                    item["bounding_box"],
                    size,
                    visible=visible * marks,
                )
            )
            titles.append("" if column else f"{category.id} {category.name}")
    return contact_sheet(cells, titles, columns, size)


def write_sheet(path: Path, columns: int, seed: int, difficulty: str, **options) -> None:
    """Write a contact sheet as the picture `path`; its ending decides the format."""
    check_picture(path)
    write_picture(path, garment_sheet(columns, seed, difficulty, **options))
