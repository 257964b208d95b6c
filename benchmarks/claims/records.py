"""The records that claims are judged by: each episode's errors over training seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.claims.statistics import Comparison, paired
from benchmarks.paper.facts import are_the_papers
from benchmarks.paper.numbers import read_paper
from benchmarks.results.episodes import (
    averaged,
    controls_needed,
    episodes_needed,
    unseen_categories,
)
from benchmarks.results.reading import titles
from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, SHOTS, UNTRAINED


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
        of_the_paper = LEARNERS + ABLATIONS
        episodes = episodes[episodes["learner"].isin(of_the_paper + UNTRAINED)]
        episodes = episodes.assign(ne=episodes["ne"].where(np.isfinite(episodes["ne"])))
        benchmarks, errors = tuple(titles(run)), {}
        for benchmark in benchmarks:
            here, errors[benchmark] = episodes[episodes["benchmark"] == benchmark], {}
            for names, count in ((of_the_paper, episodes_needed), (UNTRAINED, controls_needed)):
                rows = here[here["learner"].isin(names)]
                needed = count(run, rows) * len(unseen_categories(run, benchmark, rows))
                seeds = rows.groupby("learner")["seed"].nunique()
                found = averaged(rows, ["learner", "shots"], "ne", needed, seeds)
                found = found.reindex(columns=pd.MultiIndex.from_product([names, SHOTS]))
                errors[benchmark] |= {learner: found[learner] for learner in names}
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

    def has(self, benchmark: str, learner: str) -> bool:
        """Whether a learner was run on a benchmark, if only in part."""
        rows = self.episodes[self.episodes["benchmark"] == benchmark]
        return learner in set(rows["learner"])

    def unseen(self, benchmark: str) -> tuple[str, ...]:
        rows = self.episodes[self.episodes["benchmark"] == benchmark]
        return unseen_categories(self.run, benchmark, rows)


def _paper(number: int) -> dict[tuple[str, str, str], float]:
    numbers = read_paper(number)
    return numbers.set_index(["benchmark", "learner", "column"])["ne"].to_dict()


def _by_category() -> dict[str, pd.DataFrame]:
    return {
        benchmark: own.pivot(index="column", columns="learner", values="ne")
        for benchmark, own in read_paper(3).groupby("benchmark")
    }
