"""The numbers of the paper's Tables 2, 3 and 4."""

from functools import cache
from pathlib import Path

import pandas as pd

AXES = {2: ("learner", "shots"), 3: ("learner", "category"), 4: ("model", "shots")}
"""What the rows and the columns of each table are: the names of these in its CSV file."""


@cache
def read_paper(number: int) -> pd.DataFrame:
    """Table 2, 3 or 4, one row a cell: "benchmark", "learner", "column", "ne" and "ci95".

    "column" is the number of shots as text or "mean", in Table 3 the category.
    """
    rows = pd.read_csv(Path(__file__).with_name(f"table{number}.csv"), dtype={"shots": str})
    names = dict(zip(AXES[number], ("learner", "column"), strict=True))
    return rows.rename(columns=names)[["benchmark", "learner", "column", "ne", "ci95"]]
