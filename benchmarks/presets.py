"""Every number that differs between scales, in one place.

What is not set here has its default in the learner's own `Settings`.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, read_regular

if TYPE_CHECKING:  # numbers alone need no torch
    from fewshot_landmarks.learner import Learner
    from fewshot_landmarks.protocol import Benchmark

CROPS = ("packed", "sharded", "not")  # pixels; JPEGs; cut out of photos each time


@dataclass(frozen=True)
class Drawn:
    """The procedural garments of a scale: photos, and garments of each category at least."""

    name: str  # folder under data/
    train_photos: int
    train_minimum: int
    validation_photos: int
    validation_minimum: int
    seed: int = 0
    difficulty: str = "outfits"


@dataclass(frozen=True)
class Tuning:
    """How hyperparameters are chosen: the same budget for every learner."""

    trials: int  # a learner and benchmark, the default being the first
    finalists: int  # of the trials: the best on the first rehearsal, judged on all three
    episodes: int  # a category
    shots: tuple[int, ...]


@dataclass(frozen=True)
class Preset:
    """One scale of the benchmark."""

    name: str
    drawn: Drawn | None  # None: real data, by --data
    size: int  # side of the crops, pixels
    network: str  # of fenets.FENETS
    network_options: Mapping[str, Any]
    base_epochs: int
    base_batch: int
    base_rate: float
    base_optimiser: str  # of training.OPTIMISERS
    episodes: int  # a category
    control_episodes: int  # of these, the first that controls meet, which take seconds each
    queries: int  # query garments an episode
    train_queries: int  # query garments a training task, the same for every learner
    meta_batch: int  # training tasks whose losses are averaged before each outer step
    crops: str  # how they are stored, of CROPS
    micro_batch: int = 0  # garments of a base batch at a time, for want of memory; 0: all
    loaders: int = 0  # threads that read training tasks and batches ahead
    common: Mapping[str, object] = field(default_factory=dict)  # settings of every learner
    learners: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # and of one
    tuned: str = ""  # of benchmarks/tuned/, or a .json: by benchmark and learner, what was chosen
    tuning: Tuning | None = None
    changed: Mapping[str, object] = field(default_factory=dict)  # settings that --set gave
    asked: tuple[str, ...] = ()  # the texts of --set

    def settings(self, learner: "type[Learner]", benchmark: str) -> "Learner.Settings":
        """A learner's hyperparameters at this scale, on a benchmark."""
        known = learner.Settings.__dataclass_fields__
        common = {name: value for name, value in self.common.items() if name in known}
        own = self.learners.get(learner.name, {})
        chosen = self.chosen(learner.name, benchmark)
        return learner.Settings(**{**common, **own, **chosen, **self._changed(learner.name, known)})

    def settings_on(self, benchmark: "Benchmark", learner: "type[Learner]") -> "Learner.Settings":
        """`settings` on a benchmark, which may have those of another."""
        return self.settings(learner, benchmark.like or benchmark.name)

    def episodes_of(self, learner: "type[Learner]") -> int:
        """How many episodes of a category a learner meets: the first of them."""
        from fewshot_landmarks.protocol import UNTRAINED  # imports NumPy, which --help does without

        few = min(self.episodes, self.control_episodes)
        return few if learner.name in UNTRAINED else self.episodes

    def _changed(self, learner: str, known: Container[str]) -> dict:
        """What --set gave to every learner, and then what to this one."""
        of_all = {name: value for name, value in self.changed.items() if name in known}
        own = {
            name.removeprefix(f"{learner}."): value
            for name, value in self.changed.items()
            if name.startswith(f"{learner}.")
        }
        return {**of_all, **own}

    def chosen(self, learner: str, benchmark: str) -> Mapping[str, object]:
        """What tuning chose for a learner on a benchmark."""
        return _tuned(self.tuned).get(benchmark, {}).get(learner, {})


SMOKE = Preset(
    name="smoke",
    drawn=Drawn("garments-smoke", 200, 15, 200, 15),
    size=32,
    network="small",
    network_options={"channels": 16, "width": 8},
    base_epochs=1,
    base_batch=16,
    base_rate=2e-3,
    base_optimiser="adam",
    episodes=2,
    control_episodes=2,
    queries=4,
    train_queries=4,
    meta_batch=1,
    crops="packed",
    common={
        "tasks": 4,
        "inner_steps": 2,
        "tuning_steps": 3,
        "ppnet_tasks": 8,
        "generator_tasks": 8,
        "regression_tasks": 8,
        "few_shot_steps": 5,
    },
    tuned="smoke",
    tuning=Tuning(trials=5, finalists=2, episodes=2, shots=(1,)),
)

MINI = Preset(
    name="mini",
    drawn=Drawn("garments-mini", 3200, 220, 900, 65),
    size=96,
    network="pyramid",
    network_options={"channels": 64},
    base_epochs=6,
    base_batch=32,
    base_rate=2e-3,
    base_optimiser="adam",
    episodes=5,
    control_episodes=2,
    queries=24,
    train_queries=12,
    meta_batch=1,
    crops="packed",
    common={
        "tasks": 75,
        "outer_falls": (0.7,),
        "inner_steps": 3,
        "inner_rate": 0.01,  # the paper's
        "tuning_steps": 8,
        "detector_rate": 0.5,  # half of 32 channels', for |F|^2 is twice theirs
    },
    learners={"MRN": {"few_shot_rate": 0.075}},
)

# Features that hold: ImageNet's, frozen, and a neck on them that adapts, which knows the place.
PYRAMID = replace(
    MINI,
    name="pyramid",
    drawn=Drawn("garments-full", 24_000, 1500, 2600, 190),
    base_epochs=2,
    episodes=100,
    control_episodes=20,
    common={
        **MINI.common,
        "tasks": 300,
        "ppnet_tasks": 1000,
        "generator_tasks": 1000,
        "regression_tasks": 1000,
    },
    tuned="pyramid",
    tuning=Tuning(trials=5, finalists=2, episodes=10, shots=(1, 5, 10)),
)

# Of drawn garments alone: the network of `results/full`.
FULL = replace(
    PYRAMID,
    name="full",
    size=48,
    network="small",
    network_options={"channels": 32, "width": 16},
    base_epochs=8,
    common={name: value for name, value in PYRAMID.common.items() if name != "detector_rate"},
    learners={},
    tuned="small",
)

# Does tuning make the order? Section 4.2's inner loop on full's data and network, nothing tuned.
STATED = replace(
    FULL,
    name="stated",
    episodes=25,
    common={
        **FULL.common,
        "inner_steps": 12,
        "tuning_steps": 12,
        "inner_rate": 0.01,
        "detector_rate": 0.16,  # 0.01 of 512 channels: a step moves a logit by rate x |F|^2
    },
    learners={
        "FT": {"random_start": True},  # a new layer, as in the practice that 4.3.1 refers to
        "MRN": {"few_shot_rate": 0.16},
    },
    tuned="",
    tuning=None,
)

# The paper's kind of network, as far as a laptop can: deep, and from ImageNet.
DEEP = replace(
    FULL,
    name="deep",
    size=64,
    network="efficientnet",
    network_options={"channels": 64},
    base_epochs=2,
    base_rate=5e-4,
    episodes=25,
    common={**FULL.common, "detector_rate": 0.5},  # half of 32 channels', for |F|^2 is twice theirs
    learners={"MRN": {"few_shot_rate": 0.075}},
    tuned="efficientnet",
)

PAPER = Preset(  # section 4.2
    name="paper",
    drawn=None,
    size=384,
    network="resnet50",
    network_options={"channels": 512},
    base_epochs=20,
    base_batch=32,
    base_rate=1e-2,
    base_optimiser="sgd",
    episodes=100,
    control_episodes=20,
    queries=24,
    train_queries=12,
    meta_batch=1,
    crops="sharded",
    micro_batch=8,
    loaders=4,
    common={
        "tasks": 40_000,
        "ppnet_tasks": 40_000,
        "generator_tasks": 40_000,
        "regression_tasks": 40_000,
        "inner_steps": 12,
        "tuning_steps": 12,
        "inner_rate": 0.01,
        "detector_rate": 0.01,
        "outer_rate": 2e-4,
        "head_rate": 2e-3,
        "feature_cache": 0,
        "flat": True,
    },
    learners={  # features of 512 channels are 16 times longer, squared, than those of 32
        "MRN": {"few_shot_rate": 0.01, "hidden": 512},
        "PAML": {"hidden": 512},
    },
)

PRESETS = {preset.name: preset for preset in (SMOKE, MINI, FULL, STATED, DEEP, PYRAMID, PAPER)}
TUNED = Path(__file__).with_name("tuned")  # a file a network: what tuning chose


@cache
def _tuned(name: str) -> dict:
    if name.endswith(".json"):
        return read_choices(Path(name))
    path = TUNED / f"{name}.json"
    return read_choices(path) if name and path.exists() else {}


def read_choices(path: Path) -> dict[str, dict[str, dict]]:
    """A file of what tuning chose: settings by benchmark and learner.

    Raises `UserError` where it cannot be read, or holds anything else.
    """
    try:
        found = json.loads(read_regular(path, SMALL))
        if not [own.items() for place in found.values() for own in place.values()]:
            raise ValueError("it holds no choice")
    except OSError as error:
        raise UserError(f"cannot read choices: {path}: {error.strerror or error}") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise not_choices(path, error) from None
    return found


def not_choices(path: Path, error: Exception) -> UserError:
    """What to say of a file of choices that is none."""
    why = " ".join(str(error).split())
    return UserError(f"{path} is not what tune --choices writes: {why}")


def find_preset(name: str) -> Preset:
    """The preset of a name; raises `UserError` for an unknown one."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
