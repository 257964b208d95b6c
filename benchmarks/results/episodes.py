"""Which episodes a cell of a table needs, and their errors averaged over training seeds: no torch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.results.reading import run_field
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.protocol import BENCHMARKS, UNTRAINED


def unseen_categories(run: dict, benchmark: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """The categories that a benchmark tests: the run's, else the protocol's, and others found."""
    planned = run_field(run, "benchmarks", benchmark, "unseen")
    if planned is None:
        planned = [category(number).name for number in BENCHMARKS[benchmark].unseen]
    return tuple(dict.fromkeys([*planned, *sorted(rows["category"].unique())]))


def episodes_needed(run: dict, rows: pd.DataFrame) -> int:
    """How many episodes a learner must have of each category, seed and number of shots."""
    return run_field(run, "plan", "episodes", default=_most(rows))


def controls_needed(run: dict, rows: pd.DataFrame) -> int:
    """How many a control must have: the first of those that learners have."""
    return run_field(run, "plan", "control_episodes", default=_most(rows))


def _most(rows: pd.DataFrame) -> int:
    return rows.groupby(["learner", "seed", "category", "shots"]).size().max()


def averaged(
    rows: pd.DataFrame, keys: Sequence[str], value: str, needed: int, seeds: pd.Series
) -> pd.DataFrame:
    """Each episode's value averaged over training seeds, a column for each value of the keys.

    A column that lacks any of the `needed` episodes in any of its learner's seeds (`seeds` is
    how many; the first key is the learner) is left out. NaN in one seed is NaN in the average.
    """
    grouped = rows.groupby([*keys, "category", "episode"])[value]
    means = grouped.mean().where(grouped.count() == grouped.size())
    columns = rows.groupby(list(keys)).size().to_frame("rows")
    columns["episodes"] = means.groupby(level=list(keys)).size()
    wanted = needed * columns.index.get_level_values(0).map(seeds)
    whole = columns.index[(columns["episodes"] == needed) & (columns["rows"] == wanted)]
    return means.unstack(list(keys)).reindex(columns=whole)


def met_by_all(episodes: pd.DataFrame, run: dict, benchmark: str) -> pd.DataFrame:
    """Errors on a benchmark's episodes that controls and learners met, averaged over seeds.

    A row an episode, by category and number; a column each learner and number of shots that has
    them all, with a finite error wherever there was something to score. Where no control was run
    these are all episodes.
    """
    here = episodes[episodes["benchmark"] == benchmark]
    controls = here[here["learner"].isin(UNTRAINED)]
    each = controls_needed(run, controls) if len(controls) else episodes_needed(run, here)
    here = here[here["episode"] < each]
    here = here.assign(ne=here["ne"].where(np.isfinite(here["ne"])))
    needed = each * len(unseen_categories(run, benchmark, here))
    seeds = here.groupby("learner")["seed"].nunique()
    errors = averaged(here, ["learner", "shots"], "ne", needed, seeds)
    failed = here[(here["scored"] > 0) & here["ne"].isna()]
    keys = pd.MultiIndex.from_frame(failed[["learner", "shots"]])
    return errors.loc[:, ~errors.columns.isin(keys)]
