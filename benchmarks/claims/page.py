"""The claims as CSV and Markdown, and what is said of each group of them."""

import math
from collections.abc import Sequence

import pandas as pd

from benchmarks.claims.statistics import (
    FAILS,
    HOLDS,
    MARGIN,
    NOT_MEASURED,
    RANK_BAR,
    UNDECIDED,
    VERDICTS,
    number,
)
from benchmarks.paper.facts import (
    FIGURE5_BENCHMARK,
    FIGURE5_CATEGORY,
    FIGURE5_LANDMARKS,
    TABLE3_SHOTS,
    TABLE4_SHOTS,
    ablated,
    are_the_papers,
)
from benchmarks.results.schemas import CLAIMS
from fewshot_landmarks.support.markup import csv_text, markdown, pipes

GROUPS = {  # what is said of each: first what holds of any benchmarks, then of the paper's alone
    "first place": (
        "MetaCloth against the other eight learners; the row shows the strongest.",
        "By shots only where the paper's own table has MetaCloth least, ties included.",
    ),
    "pairs": (
        "Learners that train the initialisation on many tasks, against their plain forms.",
        "",
    ),
    "weights": ("Detectors generated from features.", "For a gap, above 0 is as claimed."),
    "table 4": (
        f"The ablation on {{ablated}}; a mean is over {TABLE4_SHOTS[0]} to {TABLE4_SHOTS[-1]} "
        "shots.",
        "A fall's difference is a fraction.",
    ),
    "shots": (
        "Each step from one number of shots to the next, more minus fewer; shown is the weakest "
        "step.",
        "",
    ),
    "controls": (
        "No claims of the paper: each learner against what learns nothing from tasks, the mean "
        "position (PLACE) and detectors on ImageNet's features with a place (CLM), on the episodes "
        "that both met. These are few, so an interval is Student's t instead of 1.96 standard "
        "errors. Each verdict is by itself, of 72 on four benchmarks: were all learners just as good "
        "as the controls, up to one claim in 40 would hold by chance and as many be refuted, "
        "several of a benchmark at once, for they share the controls' errors.",
        "",
    ),
    "benchmarks": (
        "",
        "What the paper says of its first three benchmarks, and of B-3 among all four; where its "
        "own table has it so. For the hardest, above 0 is as claimed, for the easiest below 0; the "
        "row shows the other benchmark that comes closest.",
    ),
    "categories": (
        "",
        f"At {TABLE3_SHOTS} shots. MetaCloth against the other eight where the paper's own table "
        "has it least; then the baselines, where above 0 is as claimed.",
    ),
    "figure 5": (
        "",
        f"{FIGURE5_CATEGORY.capitalize()} of {FIGURE5_BENCHMARK}, {TABLE3_SHOTS} shots, a row a group of "
        "landmarks, numbered from 1; landmarks that mirror each other are averaged. The paper "
        f"says that 14 landmarks become {FIGURE5_LANDMARKS}; by the data set's definitions they become 8.",
    ),
    "figure 6": (
        "",
        "Cosine similarity of landmark features, before and after tuning (a) and between "
        "different landmarks (b). The paper draws bars and gives no numbers.",
    ),
    "order": (
        "",
        "Spearman's correlation of nine learners' mean errors with the paper's, with a bootstrap "
        f"interval. The verdict is whether the correlation reaches {RANK_BAR:g}.",
    ),
}
OTHERS = (
    "The benchmarks are not the paper's: claims that rest on its numbers, its categories, or one "
    "of its benchmarks against the rest do not apply and are left out."
)


def about(group: str, benchmarks: Sequence[str]) -> str:
    """What is said of a group of claims on these benchmarks; empty for an unknown group."""
    always, of_the_paper = GROUPS.get(group, ("", ""))
    said = [always.format(ablated=ablated(benchmarks)), of_the_paper * are_the_papers(benchmarks)]
    return " ".join(filter(None, said))


def to_csv(frame: pd.DataFrame) -> str:
    """The frame with five decimals; empty where it has no number."""

    def text(value: float) -> str:
        return "" if math.isnan(value) else f"{round(value, 5) + 0.0:.5f}"

    rows = frame.assign(difference=frame["difference"].map(text), ci95=frame["ci95"].map(text))
    return csv_text(rows[list(CLAIMS.columns)])


def to_markdown(frame: pd.DataFrame) -> str:
    """The counts of verdicts, how they are made, and a table a group."""
    benchmarks = frame.attrs["benchmarks"]
    fall = (
        "A relative fall must be surely above 0 and its interval reach the paper's figure; it "
        f"{FAILS} if the whole interval is below that figure. "
    )
    parts = [
        "# The paper's claims",
        f"{len(frame)} claims: {_counts(frame)}.",
        "" if are_the_papers(benchmarks) else OTHERS,
        markdown(frame.attrs.get("made", "")),
        markdown(frame.attrs.get("failed", "")),
        "How verdicts are made: two learners are compared on the same episodes, each episode "
        "averaged over its learner's training seeds. The difference is the first minus the "
        "second, ± 1.96 standard errors over episodes, which vary within their category: the "
        "categories are what a benchmark is made of, not a sample. A claim that the first is below "
        "the second "
        f"{HOLDS} if the whole interval is below 0 (no worse than the second: below "
        f"{number(MARGIN)}), {FAILS} if the whole of it is above that, and is {UNDECIDED} else; "
        "against several others it must hold against each, and one that is surely better refutes "
        "it. A row shows the other that comes closest; a verdict may rest on another, all the more "
        "where it must be that of each training seed. What is said of a benchmark or of categories "
        "against others compares means over different episodes; an episode that two benchmarks "
        f"share is one draw, and counted once. {fall * are_the_papers(benchmarks)}"
        "Intervals are over episodes, not over trainings: where there are several training seeds, "
        f"a verdict that any of them does not bear out by itself is {UNDECIDED}. No verdict is "
        f"corrected for their number. {NOT_MEASURED.capitalize()}: missing, or not in full.",
        pipes(
            [
                ["group", *VERDICTS],
                *(
                    [group, *(str((rows["verdict"] == one).sum()) for one in VERDICTS)]
                    for group, rows in frame.groupby("group", sort=False)
                ),
            ]
        ),
    ]
    for group, rows in frame.groupby("group", sort=False):
        sources = "; ".join(dict.fromkeys(rows["source"]))
        text = _steps if group == "shots" else _table
        source = f"Source: {sources}." if sources else ""
        said = markdown(f"{about(group, benchmarks)} {source}".strip())
        parts += [f"## {group.capitalize()}", said, text(rows)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _counts(frame: pd.DataFrame) -> str:
    texts = ("hold", "don't", "are undecided", "were not measured")
    counts = [(frame["verdict"] == one).sum() for one in VERDICTS]
    return ", ".join(f"{n} {text}" for n, text in zip(counts, texts, strict=True))


def _table(rows: pd.DataFrame) -> str:
    heads = ("claim", "where", "paper", "ours", "difference", "each seed", "episodes", "verdict")
    lines = [
        [r.claim, r.where, r.paper, r.ours or "—", _difference(r), each_seed(r.by_seed)]
        + [str(r.episodes), r.verdict]
        for r in rows.itertuples()
    ]
    table = pd.DataFrame(lines, columns=list(heads))
    table = table.drop(columns=[one for one in ("paper", "each seed") if not table[one].any()])
    return pipes([list(table), *table.to_numpy().tolist()])


def _steps(rows: pd.DataFrame) -> str:
    """A line a claim and a column a benchmark: the verdict and the weakest step."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        benchmark, _, step = row.where.rpartition(", ")
        shown = "" if row.verdict == NOT_MEASURED else f", {step} {_difference(row)}"
        cells.setdefault(row.claim, {})[benchmark] = row.verdict + shown
    names = list(next(iter(cells.values())))
    lines = [[claim, *(line[name] for name in names)] for claim, line in cells.items()]
    return pipes([["claim", *names], *lines])


def each_seed(by_seed: str) -> str:
    """The differences of each training seed, as text."""
    return ", ".join(number(float(difference), 4) for difference in by_seed.split())


def _difference(row) -> str:
    if math.isnan(row.difference):
        return "—"
    text = number(row.difference, 4)
    return text if math.isnan(row.ci95) else f"{text} ± {number(row.ci95, 4)}"
