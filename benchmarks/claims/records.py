"""The records that claims are judged by: each episode's errors over training seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.claims.statistics import Comparison, paired
from benchmarks.paper.facts import are_the_papers
from benchmarks.paper.numbers import read_paper
from benchmarks.results.reading import titles
from benchmarks.tables.build import episodes_needed, unseen_categories
from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, SHOTS


@dataclass(frozen=True)
class Records:
    """What the claims are judged by."""

    episodes: pd.DataFrame
    run: dict
    similarities: pd.DataFrame | None
    benchmarks: tuple[str, ...]
    errors: Mapping[str, Mapping[str, pd.DataFrame]]  # of a benchmark, a learner: by shots
    paper: Mapping[tuple[str, str, str], float]  # by benchmark, learner, shots or "mean"; or empty
    ablation: Mapping[tuple[str, str, str], float]  # the same of Table 4
    by_category: Mapping[str, pd.DataFrame]  # Table 3 of a benchmark: by category and learner

    @classmethod
    def of(cls, episodes: pd.DataFrame, similarities: pd.DataFrame | None, run: dict) -> "Records":
        """The records of all benchmarks of a run."""
        episodes = episodes[episodes["learner"].isin(LEARNERS + ABLATIONS)]
        episodes = episodes.assign(ne=episodes["ne"].where(np.isfinite(episodes["ne"])))
        cells = pd.MultiIndex.from_product([LEARNERS + ABLATIONS, SHOTS])
        benchmarks, errors = tuple(titles(run)), {}
        for benchmark in benchmarks:
            rows = episodes[episodes["benchmark"] == benchmark]
            needed = episodes_needed(run, rows) * len(unseen_categories(run, benchmark, rows))
            seeds = rows.groupby("learner")["seed"].nunique()
            found = averaged(rows, ["learner", "shots"], "ne", needed, seeds)
            found = found.reindex(columns=cells)
            errors[benchmark] = {learner: found[learner] for learner in LEARNERS + ABLATIONS}
        papers = are_the_papers(benchmarks)
        paper, ablation = [_paper(table) if papers else {} for table in (2, 4)]
        by_category = _by_category() if papers else {}
        return cls(episodes, run, similarities, benchmarks, errors, paper, ablation, by_category)

    def error(self, benchmark: str, learner: str, shots: Sequence[int]) -> pd.Series:
        """Each episode's mean over the shots: NaN where any of them is."""
        return self.errors[benchmark][learner][list(shots)].mean(axis=1, skipna=False)

    def paired(
        self, benchmark: str, first: str, second: str, shots: Sequence[int] = SHOTS
    ) -> Comparison:
        return paired(self.error(benchmark, first, shots), self.error(benchmark, second, shots))

    def unseen(self, benchmark: str) -> tuple[str, ...]:
        rows = self.episodes[self.episodes["benchmark"] == benchmark]
        return unseen_categories(self.run, benchmark, rows)


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


def _paper(number: int) -> dict[tuple[str, str, str], float]:
    numbers = read_paper(number)
    return numbers.set_index(["benchmark", "learner", "column"])["ne"].to_dict()


def _by_category() -> dict[str, pd.DataFrame]:
    return {
        benchmark: own.pivot(index="column", columns="learner", values="ne")
        for benchmark, own in read_paper(3).groupby("benchmark")
    }
