"""Table 5, which the paper has not: every learner beside controls, which learn nothing from tasks.

All numbers of a benchmark are of the same episodes, those that controls met: the first of each
category. An episode's error is averaged over its learner's training seeds and then over the shots.
A difference is a learner's error less a control's, episode by episode, with the interval that
claims on controls have (`benchmarks.claims.statistics`): of episodes within their category. An
error's own interval is over all episodes alike, as in the paper's tables, so the spread between
categories is in it. Both are Student's t, for episodes are few.
"""

import math
from collections.abc import Mapping

import pandas as pd

from benchmarks.claims.statistics import paired_few, student
from benchmarks.results.episodes import met_by_all
from benchmarks.results.reading import data_said, run_field, titles
from fewshot_landmarks.protocol import ABLATIONS, BEYOND, LEARNERS, SHOTS, UNTRAINED
from fewshot_landmarks.support.markup import Markdown, csv_text, latex, markdown, pipes

KNOWS = {  # the controls, and what each goes by
    "PLACE": "mean position",
    "RIDGE": "untrained look",
    "NEAREST": "untrained look",
    "CLM": "untrained look and place",
}
AGAINST = {"PLACE": "position", "CLM": "untrained"}  # and what columns of differences are called
HEADS = {"PLACE": "less PLACE", "CLM": "less CLM"}
NUMBERS = [
    *("ne", "ci95"),
    *(name for short in AGAINST.values() for name in (f"less_{short}", f"less_{short}_ci95")),
]


def table5(episodes: pd.DataFrame, run: dict) -> pd.DataFrame:
    """A row a benchmark and learner, without rows where no control was run.

    Columns are "benchmark", "learner", `NUMBERS` and "episodes"; NaN is a dash.
    """
    rows = []
    for benchmark in titles(run):
        found = set(episodes.loc[episodes["benchmark"] == benchmark, "learner"])
        if not found & set(UNTRAINED):
            continue
        errors = met_by_all(episodes, run, benchmark)
        means = {
            name: errors[name][list(SHOTS)].mean(axis=1, skipna=False)
            for name in found
            if all((name, k) in errors for k in SHOTS)
        }
        others = sorted(found - {*UNTRAINED, *LEARNERS, *ABLATIONS})
        for learner in (*KNOWS, *LEARNERS, *others):
            if learner in found:
                rows.append({"benchmark": benchmark, "learner": learner, **_line(learner, means)})
    return pd.DataFrame(rows, columns=["benchmark", "learner", *NUMBERS, "episodes"])


def _line(learner: str, means: Mapping[str, pd.Series]) -> dict:
    if learner not in means:
        return {"episodes": 0}
    own = means[learner].dropna()
    line = {"ne": own.mean(), "ci95": own.sem() * student(len(own) - 1)}
    for control, short in AGAINST.items():
        if control in means and control != learner:
            compared = paired_few(own, means[control])
            line[f"less_{short}"] = compared.difference
            line[f"less_{short}_ci95"] = compared.ci95
    return line | {"episodes": len(own)}


def is_better(difference: float, ci95: float) -> bool:
    """Whether a difference is below zero with all of its interval."""
    return difference + ci95 < 0


def called(learner: str) -> str:
    """A learner as the table calls it: a control with what it goes by, and what the paper lacks."""
    says = KNOWS.get(learner, "beyond the paper" if learner in BEYOND else "")
    return f"{learner}, {says}" if says else learner


def caption(table: pd.DataFrame, run: dict) -> str:
    """What the table shows, and of what."""
    counts = sorted({*table.loc[table["episodes"] > 0, "episodes"]})
    said = " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]]))) or "no"
    return (
        "Learners beside controls, which learn nothing from tasks: the mean position (PLACE); on "
        "features of ImageNet's EfficientNet-Lite0 as they are, what landmarks look like (RIDGE, "
        "NEAREST), and that with their place and shape (CLM). Normalised error (NE), the mean of "
        "all shots, and differences to PLACE and to CLM on the same episodes: below zero is "
        "better, and bold where the whole 95% interval is. ± of NE is the 95% interval over all "
        "episodes, and the spread between categories is in it; ± of a difference is that of "
        "episodes within their category, and it is not. Both are by Student's t. "
        f"{said} episodes a value, the first of each category. "
        f"{data_said(run)}; version {run_field(run, 'version', default='unknown')}. A dash: not "
        "measured, or not in full."
    )


# ------------------------------------------------------------------------------- writing


def to_csv(table: pd.DataFrame, run: dict) -> str:
    """The table with five decimals; a dash has no row."""
    shown = table[table["episodes"] > 0]
    texts = {n: shown[n].map(lambda v: "" if math.isnan(v) else f"{v:.5f}") for n in NUMBERS}
    return csv_text(shown.assign(**texts))


def to_markdown(table: pd.DataFrame, run: dict) -> str:
    parts = ["# Table 5", markdown(caption(table, run))]
    for benchmark, rows in table.groupby("benchmark", sort=False):
        title = f"{benchmark}: {titles(run)[benchmark]}".removesuffix(": ")
        grid = _grid(rows, "{} ± {}", "**{}**", "—")
        lines = [[name, *map(Markdown, texts)] for name, *texts in grid]
        parts += ["## " + markdown(title), pipes([["", "NE", *HEADS.values()], *lines])]
    return "\n\n".join(parts) + "\n"


def to_tex(table: pd.DataFrame, run: dict) -> str:
    r"""A `table` environment to \input; needs booktabs alone."""
    lines = [
        r"\begin{table}[tp]",
        r"\centering",
        rf"\caption{{{latex(caption(table, run))}}}",
        r"\label{tab:table5}",
        r"\vspace{4pt}",
        r"\scriptsize",
        r"\begin{tabular}{@{}lccc@{}}",
    ]
    for i, (benchmark, rows) in enumerate(table.groupby("benchmark", sort=False)):
        heads = " & ".join(map(latex, [str(benchmark), "NE", *HEADS.values()]))
        lines += [r"\midrule" if i else r"\toprule", heads + r" \\", r"\midrule"]
        for name, *texts in _grid(rows, r"${}${{\tiny$\pm${}}}", r"{{\boldmath {}}}", "--"):
            lines.append(" & ".join([latex(name), *texts]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _grid(rows: pd.DataFrame, number: str, bold: str, dash: str) -> list[list[str]]:
    """Learners and their numbers as texts; `number` has places for a value and its interval."""

    def text(value: float, ci95: float, sign: str = "") -> str:
        if math.isnan(value):
            return dash
        shown = f"{round(value, 3) + 0.0:{sign}.3f}"
        return shown if math.isnan(ci95) else number.format(shown, f"{ci95:.3f}")

    lines = []
    for row in rows.to_dict("records"):
        texts = [called(row["learner"]), text(row["ne"], row["ci95"])]
        for short in AGAINST.values():
            pair = row[f"less_{short}"], row[f"less_{short}_ci95"]
            texts.append((bold if is_better(*pair) else "{}").format(text(*pair, sign="+")))
        lines.append(texts)
    return lines


RENDERERS = {"tex": to_tex, "csv": to_csv, "md": to_markdown}
FILES = tuple(f"table5.{ending}" for ending in RENDERERS)
