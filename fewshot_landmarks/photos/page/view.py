"""What is shown of a `Session`: numbers and names alone, which a browser draws over the photos.

Photos themselves are sent once, so that a click or a photo found costs a few kilobytes.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fewshot_landmarks.photos.page.session import Finding, Session, UploadedPhoto
from fewshot_landmarks.support.markup import entities

STEP = 10  # of the scores' percents, in which dots of thumbnails are coloured

Address = Callable[[UploadedPhoto, str], str]
"""Where a browser gets a photo, "large" or "small"."""


def shown(session: Session, address: Address) -> dict | None:
    """The chosen photo: its landmarks in its own pixels, the box that was drawn or else searched.

    A landmark has a score if it was found, none if it was clicked.
    """
    name = session.chosen
    if name is None:
        return None
    photo, clicked = session.photos[name], name in session.marks
    points = session.points(name)
    scores = None if clicked or name not in session.found else session.found[name].scores
    drawn = session.boxes.get(name)
    searched = session.found[name].box if name in session.found and not clicked else None
    return {
        "photo": [*session.photos].index(name),
        "source": address(photo, "large"),
        "width": photo.width,
        "height": photo.height,
        "current": session.current,
        "landmarks": [
            {
                "number": i,
                "name": session.names[i],
                "x": round(float(x), 2),
                "y": round(float(y), 2),
                "score": None if scores is None else round(float(scores[i]), 2),
            }
            for i, (x, y) in enumerate(points)
            if np.isfinite((x, y)).all()
        ],
        "box": None if drawn is None else [round(n, 1) for n in drawn],
        "searched": None if searched is None else [round(float(n), 1) for n in searched],
    }


def listed(session: Session, address: Address) -> list[dict]:
    """A line on each photo, and where its landmarks are."""
    annotated = set(session.annotated)
    ranks = {name: rank for rank, name in enumerate(session.queue(), 1)}
    return [
        {
            "name": name,
            "source": address(photo, "small"),
            "width": photo.width,
            "height": photo.height,
            "caption": _caption(session, name, name in annotated, ranks.get(name)),
            "chosen": name == session.chosen,
            "dots": _dots(session, name),
        }
        for name, photo in session.photos.items()
    ]


def _caption(session: Session, name: str, annotated: bool, rank: int | None) -> str:
    if annotated:
        return f"annotated · {name}"
    if session.empty(name):
        return f"none visible · {name}"
    if rank:
        return f"next {rank} · {100 * session.found[name].score:.0f}% sure · {name}"
    return name


def _dots(session: Session, name: str) -> dict[str, str]:
    """Landmarks as paths of SVG by their scores' percent, "own" of those that were clicked."""
    if name in session.marks:
        return {"own": _path(session.points(name))}
    return _found_dots(session.found[name]) if name in session.found else {}


@lru_cache(maxsize=4096)  # of what was found once, which is shown with every click
def _found_dots(found: Finding) -> dict[str, str]:
    percents = STEP * np.rint(100 / STEP * np.nan_to_num(found.scores)).astype(int)
    each = {str(p): _path(found.points[percents == p]) for p in np.unique(percents).tolist()}
    return {percent: path for percent, path in each.items() if path}


def _path(points: np.ndarray) -> str:
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points.tolist() if math.isfinite(x + y))


def choices(session: Session) -> list[tuple[str, int]]:
    """What the next click can set: label (✓ where set, – where not visible) and number."""
    known = session.marks.get(session.chosen or "", {})
    offered = []
    for i, name in enumerate(session.names):
        label = name if name == str(i + 1) else f"{i + 1} {name}"
        sign = "" if i not in known else " ✓" if known[i] else " –"
        offered.append((label + sign, i))
    new = len(session.names)
    return [*offered, (f"{new + 1} (new)", new)] if session.growing else offered


def advice(session: Session) -> str:
    """What can be done now, in Markdown."""
    if session.chosen is None:
        return "Add photos to begin."
    if not session.names:
        return "Click the first landmark in the photo."
    known = session.current < len(session.names)
    name = entities(session.names[session.current]) if known else session.current + 1
    if session.chosen not in session.marks:
        if session.chosen in session.found:
            return (
                "These were found: red is unsure, green is sure. If one is wrong, choose it below the "
                f"photo and click where it belongs (now **{name}**); else **Right as it is**."
            )
        return f"Click landmark **{name}**, or leave this photo to **Adapt**."
    if session.current in session.marks[session.chosen]:
        return (
            f"All landmarks are set; a click moves **{name}**. When right: **Next** or **Adapt**."
        )
    if session.growing:
        return f"Click landmark **{name}**. When all are set: **Adapt**."
    return f"Click landmark **{name}**."
