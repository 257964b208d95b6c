"""The paper's protocol as data (sections 4.1 and 4.2), and the names of its learners."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fewshot_landmarks.data.categories import CATEGORIES, Categories, category
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.rng import permutation

SHOTS = (1, 3, 5, 8, 10)
SEEN_CATEGORIES = 6
# Every third of the seen plays unseen in choosing hyperparameters: each in turn, this one first.
THIRDS = tuple(slice(first, None, 3) for first in (2, 0, 1))
EPISODE_SEED = 700  # of the episodes of meta-test: the same for every learner and training seed
B4_SEED = 4  # the paper does not name B-4's six random categories: one fixed draw, named in tables

# Where each learner is, by its name: the nine of Table 2, Table 4's ablations, the untrained, and
# those beyond the paper.
REGISTRY = {
    "FT": "baselines.ft:FT",
    "MAML": "baselines.maml:MAML",
    "WG": "baselines.wg:WG",
    "WG-ATT": "baselines.wg_att:WGATT",
    "PROTO": "baselines.proto:PROTO",
    "PROTO-MA": "baselines.proto_ma:PROTOMA",
    "MRN": "baselines.mrn:MRN",
    "PAML": "baselines.paml:PAML",
    "MetaCloth": "fewshot_landmarks.metacloth:MetaCloth",
    "Base-FEN": "fewshot_landmarks.metacloth:BaseFEN",
    "Base-FEN_M": "fewshot_landmarks.metacloth:BaseFENM",
    "LD-Keep": "fewshot_landmarks.metacloth:LDKeep",
    "LD-Keep_M": "fewshot_landmarks.metacloth:LDKeepM",
    "RIDGE": "baselines.untrained.ridge:RIDGE",
    "NEAREST": "baselines.untrained.nearest:NEAREST",
    "PLACE": "baselines.untrained.place:PLACE",
    "CLM": "baselines.untrained.clm:CLM",
    "CAPE": "baselines.cape:CAPE",
    "RIDGE+": "baselines.ridge_plus:RIDGEPlus",
}
NAMES = tuple(REGISTRY)
LEARNERS, ABLATIONS, UNTRAINED, BEYOND = NAMES[:9], NAMES[9:13], NAMES[13:17], NAMES[17:]


@dataclass(frozen=True)
class Benchmark:
    """Which categories are seen in meta-training (ids); others are unseen, and tested."""

    name: str
    title: str
    seen: tuple[int, ...]
    tested: tuple[int, ...] = ()  # which of the others are tested; all, if none is named
    like: str = ""  # the benchmark whose hyperparameters it has; by default its own

    @property
    def unseen(self) -> tuple[int, ...]:
        return self.tested or tuple(c.id for c in CATEGORIES if c.id not in self.seen)

    @property
    def rehearsable(self) -> bool:
        """Whether it has enough seen categories to hold out every third."""
        return len(self.seen) >= len(THIRDS)

    @property
    def rehearsal(self) -> "Benchmark":
        """The first of `rehearsals`."""
        return self.rehearsals[0]

    @property
    def rehearsals(self) -> "tuple[Benchmark, ...]":
        """This benchmark on its seen categories alone: where hyperparameters are chosen.

        Every third of them, in the data set's order, plays an unseen one: the order goes from tops
        to lower-body garments to dresses, so that some are like what stays seen and some are not.
        There are three such thirds, so each seen category is held out once. Raises `UserError` for
        fewer than three seen categories.
        """
        if not self.rehearsable:
            raise UserError(
                f"benchmark {self.name!r} has {len(self.seen)} seen categories, and a rehearsal "
                "holds out every third: it needs three"
            )
        found = []
        for suffix, third in zip(("r", "r2", "r3"), THIRDS, strict=True):
            tested = self.seen[third]
            seen = tuple(category for category in self.seen if category not in tested)
            found.append(Benchmark(self.name + suffix, f"rehearsal of {self.name}", seen, tested))
        return tuple(found)


def _ids(*names: str) -> tuple[int, ...]:
    return tuple(sorted(category(name).id for name in names))


def random_benchmark(seed: int = B4_SEED) -> Benchmark:
    """B-4: six categories drawn at random."""
    drawn = permutation(len(CATEGORIES), seed)[:SEEN_CATEGORIES]
    return Benchmark("B-4", "random", tuple(sorted(CATEGORIES[i].id for i in drawn)))


def _fewest_landmarks() -> tuple[int, ...]:
    """The last six of the categories sorted by landmarks, most first (B-3).

    Vest dress and sling dress tie with 19: the paper's Table 3 lists sling dress as unseen.
    """
    ordered = sorted(CATEGORIES, key=lambda c: (c.landmarks, c.id))
    return tuple(sorted(c.id for c in ordered[:SEEN_CATEGORIES]))


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "B-1",
            "half-body to full-body",
            _ids("short sleeve top", "long sleeve outwear", "vest", "sling", "shorts", "skirt"),
        ),
        Benchmark(
            "B-2",
            "upper to lower",
            _ids(
                "short sleeve top",
                "long sleeve top",
                "short sleeve outwear",
                "long sleeve outwear",
                "vest",
                "sling",
            ),
        ),
        Benchmark("B-3", "fewer to more landmarks", _fewest_landmarks()),
        random_benchmark(),
    )
}


def benchmark(name: str, among: Mapping[str, Benchmark] = BENCHMARKS) -> Benchmark:
    """The benchmark of a name, "B-1r2" being a rehearsal; raises `UserError` for an unknown one."""
    if name in among:
        return among[name]
    rehearsed = among.get(name.rpartition("r")[0])
    for rehearsal in rehearsed.rehearsals if rehearsed else ():
        if rehearsal.name == name:
            return rehearsal
    raise UserError(f"unknown benchmark {name!r}: choose one of {', '.join(among)}")


def usable(garments, category: int) -> tuple[np.ndarray, int]:
    """Positions of a category's usable garments, and in how many photos they are."""
    members = np.flatnonzero((garments.labels == category) & garments.usable)
    return members, len(np.unique(garments.photos[members]))


def unfit(
    benchmarks: Iterable[Benchmark],
    categories: Categories,
    sides: Mapping[str, tuple],
) -> list[str]:
    """A line on each category with too few photos for its part in a benchmark: it cannot be run.

    sides: by split, "train" and "validation", the garments and the queries of a task.
    """
    lines, most, part_of = [], max(SHOTS), {"train": "seen", "validation": "unseen"}
    for split, (garments, queries) in sides.items():
        hit: dict[int, list[str]] = {}
        for benchmark in benchmarks:
            for number in getattr(benchmark, part_of[split]):
                hit.setdefault(number, []).append(benchmark.name)
        for number, names in hit.items():
            photos = usable(garments, number)[1]
            if photos >= most + queries:
                continue
            option = "train_queries" if split == "train" else "queries"
            fewer = f", or run with --set {option}={photos - most}" if photos > most else ""
            lines.append(
                f"{split}: {categories[number].name} has {photos} photos, a task needs "
                f"{most + queries} ({most} to learn from, whatever --shots says, and {queries} to "
                f"ask about): {', '.join(names)} cannot be run; add photos{fewer}"
            )
    return lines
