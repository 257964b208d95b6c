"""The paper's claims, each with a verdict from stored per-episode errors: no training, no torch.

    python -m benchmarks.claims --results results/full

reads `episodes.csv.gz` and `run.json` there (and `similarities.csv`, if it is there) and writes
claims.csv and claims.md beside them: a pure function of the files, so the same records give the
same bytes.

An episode's error is first averaged over its learner's training seeds (and over the shots, for a
mean); then two learners are compared as `benchmarks.claims.statistics` says. Where there are
several training seeds, everything is also judged on each seed's records alone: "by_seed" has the
row's difference by those, seed by seed, and a verdict that any of them does not bear out is
undecided. A cell that lacks any episode, as a dash of the tables, is "not measured". No verdict is
corrected for the number of claims.

The benchmarks are those of the run. On others than the paper's, claims that rest on its numbers,
its categories, or one of its benchmarks against the rest do not apply and have no row.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.claims import control_claims as ours
from benchmarks.claims import figure_claims as figures
from benchmarks.claims import table_claims as tables
from benchmarks.claims.page import to_csv, to_markdown
from benchmarks.claims.records import Records
from benchmarks.claims.statistics import NOT_MEASURED, borne_out
from benchmarks.results.reading import (
    data_said,
    read_episodes,
    read_optional,
    read_run,
    results_command,
    run_field,
)
from benchmarks.results.schemas import CLAIMS, SIMILARITIES
from benchmarks.tables.build import seeds_said
from fewshot_landmarks.protocol import UNTRAINED
from fewshot_landmarks.support.files import write_text

FEW = 10  # episodes a category, below which the page says that intervals mean little
ANYWHERE = (  # these say something of any benchmarks
    tables.first_place,
    tables.pairs,
    tables.weights,
    tables.table4,
    tables.shots,
    ours.controls,
)
OF_THE_PAPERS = (
    tables.benchmarks,
    tables.categories,
    tables.harder_categories,
    figures.figure5,
    figures.figure6,
    tables.order,
)
"""Claims that rest on the paper's numbers, its categories, or one of its benchmarks against the
rest: of its benchmarks alone."""

# -------------------------------------------------------------------------------- claims


def claims(episodes: pd.DataFrame, run: dict, similarities: pd.DataFrame | None) -> pd.DataFrame:
    """The claims with their verdicts, a row each; `attrs` say what made them."""
    records = Records.of(episodes, similarities, run)
    rows = judged_claims(records)
    seeds = sorted(records.episodes["seed"].unique())
    if len(seeds) > 1:
        alone = [
            judged_claims(Records.of(*_of(seed, episodes, similarities), run)) for seed in seeds
        ]
        rows = [_by_seed(*row) for row in zip(rows, *alone, strict=True)]
    frame = pd.DataFrame(rows, columns=list(CLAIMS.columns))
    frame.attrs = {
        "benchmarks": records.benchmarks,
        "made": _made(records),
        "failed": _failed(records.episodes),
    }
    return frame


def judged_claims(records: Records) -> list[dict]:
    """Every claim that applies, in one order whatever the records."""
    groups = ANYWHERE + OF_THE_PAPERS * bool(records.paper)
    return [row for group in groups for row in group(records)]


def _of(
    seed: int, episodes: pd.DataFrame, similarities: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The records of one training seed, and those of controls, which no seed changes."""
    own = None if similarities is None else similarities[similarities["seed"] == seed]
    kept = (episodes["seed"] == seed) | episodes["learner"].isin(UNTRAINED)
    return episodes[kept], own


def _by_seed(row: dict, *alone: dict) -> dict:
    """A row with each seed's own difference, and the verdict that every one of them bears out."""
    if row["verdict"] == NOT_MEASURED:
        return row
    own = [one.get("differences", {}).get(row.get("rival"), one["difference"]) for one in alone]
    return row | {
        "by_seed": " ".join(f"{round(difference, 5) + 0.0:.5f}" for difference in own),
        "verdict": borne_out(row["verdict"], [one["verdict"] for one in alone]),
    }


def _made(records: Records) -> str:
    """What made the records, as the tables' captions say it."""
    run = records.run
    few = ", too few for intervals to mean much" * (records.episodes["episode"].nunique() < FEW)
    return (
        f"{data_said(run)}; {run_field(run, 'plan', 'episodes', default='an unknown number of')} "
        f"episodes a category{few}; training seeds {seeds_said(records.episodes)}; version "
        f"{run_field(run, 'version', default='unknown')}."
    )


def _failed(episodes: pd.DataFrame) -> str:
    """Which learners failed in some episodes; empty where none did."""
    failed = episodes[(episodes["scored"] > 0) & episodes["ne"].isna()]
    counts = failed.groupby(["benchmark", "learner"]).size()
    if counts.empty:
        return ""
    listed = ", ".join(f"{name} on {benchmark} ({n})" for (benchmark, name), n in counts.items())
    return (
        "Dropped from the pairs, which flatters the learner: records without a finite error "
        f"although there was something to score, of {listed}."
    )


# --------------------------------------------------------------------------------- files

RENDERERS: dict[str, Callable[[pd.DataFrame], str]] = {"csv": to_csv, "md": to_markdown}
FILES = tuple(f"claims.{ending}" for ending in RENDERERS)


def write_claims(directory: str | Path) -> pd.DataFrame:
    """Writes claims.csv and claims.md into a results directory; returns the claims."""
    frame = claims(
        read_episodes(directory), read_run(directory), read_optional(directory, SIMILARITIES)
    )
    texts = {ending: render(frame) for ending, render in RENDERERS.items()}
    for ending, text in texts.items():
        write_text(Path(directory) / f"claims.{ending}", text)
    return frame


def _show(directory: Path) -> None:
    print(to_markdown(write_claims(directory)), end="")


main = partial(
    results_command, "claims", _show, FILES, "The paper's claims, judged by stored errors.", "full"
)
"""The command."""
