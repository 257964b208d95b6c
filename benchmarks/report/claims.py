"""The paper's claims as the report shows them: groups of rows, and how many have each verdict."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from benchmarks.claims.page import about
from benchmarks.claims.statistics import FAILS, HOLDS, NOT_MEASURED
from benchmarks.report.text_table import DASH, fixed, interval

LONG = 12  # rows of a group of claims that is folded away
TONES = {HOLDS: "good", FAILS: "bad", NOT_MEASURED: "none"}  # other verdicts are open
MARKS = {"good": "✓", "bad": "✗", "open": "?", "none": "–"}


def groups_of_claims(frame: pd.DataFrame, benchmarks: Sequence[str]) -> list[dict]:
    """The groups of claims, each with its rows and how many have each verdict."""
    groups = []
    for name, rows in frame.groupby("group", sort=False):
        lines = [
            {
                "claim": row["claim"],
                "where": row["where"],
                "paper": row["paper"] or DASH,
                "ours": row["ours"] or DASH,
                "difference": interval(row["difference"], row["ci95"], True, 4),
                "by_seed": ", ".join(fixed(float(one), 4, True) for one in row["by_seed"].split()),
                "episodes": str(row["episodes"]),
                "verdict": badge(row["verdict"]),
            }
            for _, row in rows.iterrows()
        ]
        counts = [(badge(verdict), n) for verdict, n in _counted(rows["verdict"])]
        groups.append(
            {
                "name": name,
                "about": about(name, benchmarks),
                "sources": "; ".join(dict.fromkeys(rows["source"])),
                "rows": lines,
                "paper": rows["paper"].any(),
                "by_seed": rows["by_seed"].any(),
                "counts": counts,
                "long": len(lines) > LONG,
            }
        )
    return groups


def badge(verdict: str) -> dict[str, str]:
    """A verdict with its tone and a mark, so that it does not rest on colour."""
    tone = TONES.get(verdict.strip().lower(), "open")
    return {"text": verdict, "tone": tone, "mark": MARKS[tone]}


def _counted(verdicts: Iterable[str]) -> list[tuple[str, int]]:
    """Each verdict and how often, the good before the bad before the open."""
    tones = list(MARKS)
    return sorted(
        Counter(verdicts).items(), key=lambda one: (tones.index(badge(one[0])["tone"]), one)
    )


def verdicts(frame: pd.DataFrame) -> dict:
    """How many claims of each group have each verdict."""
    heads = [verdict for verdict, _ in _counted(frame["verdict"])]
    rows = [
        (group, [int((own == verdict).sum()) for verdict in heads], len(own))
        for group, own in frame.groupby("group", sort=False)["verdict"]
    ]
    total = ("all", [int((frame["verdict"] == verdict).sum()) for verdict in heads], len(frame))
    return {"heads": list(map(badge, heads)), "rows": [*rows, total]}
