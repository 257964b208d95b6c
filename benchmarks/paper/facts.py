"""Every constant that the benchmark takes from the paper, with the section or table that has it.

What the library itself needs (benchmarks, shots, the names of learners) is in
`fewshot_landmarks.protocol`; the numbers of Tables 2, 3 and 4 are CSV files beside this one.
"""

from collections.abc import Iterable

from fewshot_landmarks.protocol import BENCHMARKS, LEARNERS

METACLOTH = "MetaCloth"
RIVALS = tuple(learner for learner in LEARNERS if learner != METACLOTH)
EPISODES = 100  # of each category in meta-test, section 4.1
MEAN = "mean"  # the column of Tables 2 and 4 that averages the shots

# --------------------------------------------------------------------------------- Table 2

META_TRAINED = {"MAML": "FT", "PROTO-MA": "PROTO", "PAML": "MRN"}
"""Learners that train the initialisation on many tasks, each with its plain form (4.4.1)."""

SCENARIOS = ("B-1", "B-2", "B-3")  # which sections 4.4.2 and 4.4.3 and Table 3 are about
EASIEST = "B-1"  # of the three scenarios, section 4.4.2
HARDEST = {"B-2": ("WG", "WG-ATT", "MRN", "PROTO", "PROTO-MA", "PAML"), "B-3": ("FT", "MAML")}
"""The hardest benchmark and the learners for which it is, section 4.4.2."""
AMONG = {"B-2": SCENARIOS, "B-3": tuple(BENCHMARKS)}  # what the hardest is compared with

# --------------------------------------------------------------------------------- Table 3

TABLE3_SHOTS = 8
HARDER = {
    "B-1": ("trousers", ("trousers",)),
    "B-2": ("lower-body garments", ("trousers", "shorts", "skirt")),
    "B-3": ("long sleeve top and outwear", ("long sleeve top", "long sleeve outwear")),
}
"""Categories on which the baselines have larger errors: what they are called, and which they are,
section 4.4.3."""

# --------------------------------------------------------------------------------- Table 4

TABLE4_BENCHMARK, TABLE4_SHOTS = "B-2", (3, 5, 8, 10)
FALLS = {"Base-FEN": 0.139, "Base-FEN_M": 0.177, "LD-Keep": 0.097, "LD-Keep_M": 0.218}
"""The share by which MetaCloth's mean error is less than an ablation's."""

# --------------------------------------------------------------------------------- figures

FIGURE4 = {
    "long sleeve top": ("B-1", "B-3"),  # the paper's "long sleeve shirt"
    "trousers": ("B-1", "B-2"),  # the paper's "benchmark-5" is trained on upper-body clothes: B-2
    "long sleeve dress": ("B-1", "B-2", "B-3", "B-4"),  # not in the paper: unseen in all four
}
"""Categories whose heatmaps are shown, and the benchmarks in which they are unseen."""

FIGURE5_BENCHMARK, FIGURE5_CATEGORY = "B-2", "trousers"
FIGURE5_LANDMARKS = 9  # that the paper's figure shows of 14, mirror images being one

FIGURE6_BENCHMARK = "B-2"
FIGURE6_LEARNERS = ("LD-Keep", "Base-FEN", METACLOTH)


# ---------------------------------------------------------------- benchmarks of other data


def are_the_papers(benchmarks: Iterable[str]) -> bool:
    """Whether these are the paper's benchmarks, to which its numbers apply."""
    return list(benchmarks) == list(BENCHMARKS)


def ablated(benchmarks: Iterable[str]) -> str:
    """The benchmark that ablations are run on: Table 4's, or the first of another data set's."""
    names = list(benchmarks)
    return TABLE4_BENCHMARK if TABLE4_BENCHMARK in names else names[0]
