"""A claim as a row of the claims' table, and the texts in it."""

import math
from collections.abc import Mapping, Sequence

from benchmarks.claims.statistics import NOT_MEASURED, number
from benchmarks.paper.facts import MEAN, METACLOTH

LEAST = f"{METACLOTH} has the least error of the nine learners"


def row(group: str, claim: str, source: str, where: str, paper: str, **judgement) -> dict:
    """A row of the frame; without numbers where the judgement is that it was not measured."""
    found = {"group": group, "claim": claim, "source": source, "where": where, "paper": paper}
    if judgement["verdict"] == NOT_MEASURED:
        judgement |= {"ours": "", "difference": math.nan, "ci95": math.nan, "episodes": 0}
    return found | {"by_seed": ""} | judgement


def two(first: str, a: float, second: str, b: float) -> str:
    return f"{first} {number(a)}, {second} {number(b)}"


def beside(numbers: Mapping, benchmark: str, first: str, second: str, shots: Sequence[int]) -> str:
    """The paper's numbers of two learners; empty where it has none."""
    pair: list = [numbers.get((benchmark, name, column(shots))) for name in (first, second)]
    return "" if None in pair else two(first, pair[0], second, pair[1])


def column(shots: Sequence[int]) -> str:
    return MEAN if len(shots) > 1 else str(shots[0])


def where(benchmark: str, shots: Sequence[int]) -> str:
    count = column(shots)
    return f"{benchmark}, {count if count == MEAN else f'{count} shot' + 's' * (count != '1')}"
