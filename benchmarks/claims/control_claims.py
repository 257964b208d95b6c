"""Claims of our own, on each of the nine learners: is it better than controls, which learn nothing
from tasks?"""

from collections.abc import Iterator

from benchmarks.claims.records import Records
from benchmarks.claims.rows import row, where
from benchmarks.claims.statistics import judged, paired_few
from fewshot_landmarks.protocol import LEARNERS, SHOTS

BETTER = {"PLACE": "the mean position", "CLM": "untrained detectors on ImageNet's features"}


def controls(records: Records) -> Iterator[dict]:
    """Rows where controls were run alone, with intervals for few episodes (`paired_few`)."""
    for control, called in BETTER.items():
        places = [name for name in records.benchmarks if records.has(name, control)]
        for learner in LEARNERS:
            for benchmark in places:
                errors = [records.error(benchmark, name, SHOTS) for name in (learner, control)]
                yield row(
                    "controls",
                    f"{learner} is better than {called}",
                    "",
                    where(benchmark, SHOTS),
                    "",
                    **judged(learner, {control: paired_few(*errors)}),
                )
