"""What README shows of the project's own making: python docs/readme.py

Draws docs/picture.png, and writes the table between README's markers from results/full.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fewshot_landmarks import load
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.data.drawing import contact_sheet, object_cell
from fewshot_landmarks.data.garments.writer import photo_of

ROOT = Path(__file__).parents[1]
README, RESULTS, PAPER = (
    ROOT / "README.md",
    ROOT / "results" / "full",
    ROOT / "benchmarks" / "paper",
)
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of table -->)", re.S)
SHOTS, SEED, SIDE, COLOURS = 5, 7, 170, 224
KIND = category("long sleeve dress")  # 37 landmarks; the model was trained without dresses


def table() -> str:
    """Table 2's means over the shots, the paper's in brackets, as Markdown.

    Below the learners: Spearman's correlation of their order with the paper's, and the error of a
    predictor that ignores the image.
    """
    paper = _means(pd.read_csv(PAPER / "table2.csv"))
    ours = _means(pd.read_csv(RESULTS / "table2.csv")).loc[paper.index]
    control = pd.read_csv(RESULTS / "adequacy.csv")
    control = control.query("measure == 'position' and categories == 'unseen'")
    ignoring = control.groupby("benchmark")["value"].mean().map("{:.3f}".format)
    printed = ours.map("{:.3f}".format)
    bold = printed.where(printed != printed.min(), "**" + printed + "**")
    cells = bold + " (" + paper.map("{:.3f}".format) + ")"
    cells.loc["*Spearman's correlation with the paper's order*"] = ours.corrwith(
        paper, method="spearman"
    ).map("{:.2f}".format)
    cells.loc["*a predictor that ignores the image (140 episodes)*"] = ignoring
    rows = [["", *cells.columns], ["---"] * 5, *cells.reset_index().to_numpy().tolist()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _means(numbers: pd.DataFrame) -> pd.DataFrame:
    """By learner and benchmark, in the file's order of learners."""
    means = numbers[numbers["shots"] == "mean"].pivot(
        index="learner", columns="benchmark", values="ne"
    )
    return means.loc[numbers["learner"].unique()]


def picture() -> Image.Image:
    """Five annotated dresses, and the landmarks that MetaCloth then finds in the next five."""
    images, landmarks, visible, boxes = zip(*map(_drawn, range(2 * SHOTS)))
    given, asked = slice(SHOTS), slice(SHOTS, None)
    finder = load("MetaCloth").adapt(
        images[given], landmarks[given], visible[given], boxes=boxes[given]
    )
    found = finder.predict(images[asked], boxes=boxes[asked])
    marks = [
        {"landmarks": points, "visible": seen}
        for points, seen in zip(landmarks[given], visible[given])
    ]
    marks += [{"landmarks": p, "scores": s} for p, s in zip(found.landmarks, found.scores)]
    cells = [
        object_cell(image, box=box, side=SIDE, edges=KIND.edges, numbers=False, **own)
        for image, box, own in zip(images, boxes, marks)
    ]
    titles = ["annotated", *[""] * (SHOTS - 1), "found", *[""] * (SHOTS - 1)]
    sheet = Image.fromarray(contact_sheet(cells, titles, SHOTS, SIDE))
    return sheet.quantize(COLOURS, dither=Image.Dither.NONE)  # a third of the bytes


def _drawn(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """A photo (H, W, 3) of a dress, its landmarks (37, 2), visibility (37,) and box (4,)."""
    photo, _ = photo_of(SEED, "train", number, KIND.id, "outfits")
    item = photo.annotation["item1"]
    marks = np.reshape(item["landmarks"], (-1, 3))
    return photo.image[..., ::-1], marks[:, :2], marks[:, 2], item["bounding_box"]


if __name__ == "__main__":
    picture().save(Path(__file__).with_name("picture.png"), optimize=True)
    README.write_text(TABLE.sub(lambda _: table(), README.read_text("utf-8")), "utf-8")
