"""How far scores can be trusted: the rows of calibration.csv, without torch.

`benchmarks.export` writes them: for a benchmark and a learner, landmarks by their score in ten bins
of equal width, with their number, their mean score, and the share of them that are found. Where
all landmarks count, one that a photo lacks is not found.
"""

import pandas as pd

FILE = "calibration.csv"
COLUMNS = {
    **dict.fromkeys(("benchmark", "learner", "landmarks"), str),
    **dict.fromkeys(("bin", "count"), int),
    **dict.fromkeys(("score", "hits"), float),  # empty in a bin without landmarks
}
UNSEEN, LABELLED = "unseen", "unseen, labelled"  # all landmarks, or those labelled


def errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration errors by (benchmark, learner), a column for `UNSEEN` and `LABELLED`.

    The gaps between mean score and share of hits, weighted by the landmarks in each bin; NaN
    without any.
    """
    gaps = frame["count"] * (frame["score"] - frame["hits"]).abs().fillna(0)
    by = [frame[name] for name in ("benchmark", "learner", "landmarks")]
    error = gaps.groupby(by, sort=False).sum() / frame["count"].groupby(by, sort=False).sum()
    return error.unstack().round(3)
