"""The box of an object, from where its landmarks lie, and where in it they lie on the mean."""

import numpy as np

SLACK = 0.05  # of a box around landmarks, where no box is given


def around(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The box (4,) of points (P, 2) with some slack, cut off at the photo."""
    low, high = points.min(0), points.max(0)
    slack = max(SLACK * (high - low).max(), 1.0)
    x1, y1 = np.maximum(low - slack, 0)
    x2, y2 = np.minimum(high + slack, (width, height))
    return np.array([x1, y1, x2, y2], np.float32)


def shape_in(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points (K, N, 2) in units of their boxes (K, 4): 0 to 1 across each."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return (points - low) / (high - low)


def mean_shape(shapes: np.ndarray) -> np.ndarray:
    """Mean over the photos (K, N, 2) that have a landmark: (N, 2), NaN where none has."""
    known = np.isfinite(shapes)
    counts = known.sum(0)
    total = np.where(known, shapes, 0.0).sum(0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)


def mean_position(shape: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A support's mean shape (N, 2) put into boxes (B, 4): (B, N, 2) in pixels of the photos.

    It is the control beside learners, for it looks at no photo; NaN where the shape is.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return low + shape * (high - low)


def box_of(
    found: np.ndarray, scores: np.ndarray, shape: np.ndarray, width: int, height: int
) -> tuple[float, float, float, float]:
    """The box whose landmarks would lie as those found (N, 2) do; the photo where that fails.

    Along each axis the median slope of the better half of the landmarks (Theil and Sen), which
    outliers do not move.
    """
    from scipy.stats import theilslopes  # takes long to import, and is needed here alone

    trusted = np.isfinite(found).all(-1) & np.isfinite(shape).all(-1)
    trusted &= scores >= np.median(scores[trusted]) if trusted.any() else False
    edges = []
    for axis, side in enumerate((width, height)):
        x, y = shape[trusted, axis], found[trusted, axis]
        if len(set(x.tolist())) < 2:
            return 0, 0, width, height
        length, start, *_ = theilslopes(y, x, method="joint")
        first, last = max(start, 0), min(start + length, side)
        if last - first < side / 20:
            return 0, 0, width, height
        edges.append((first, last))
    (x1, x2), (y1, y2) = edges
    return x1, y1, x2, y2
