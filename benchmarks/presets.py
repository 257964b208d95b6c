"""Every number that differs between scales, in one place.

What is not set here has its default in the learner's own `Settings`.
"""

import ast
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from inspect import signature
from pathlib import Path

from fewshot_landmarks.learner import REGISTRY, Learner, find_learner
from fewshot_landmarks.networks.fenets import FENETS, PRECISIONS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, read_regular
from fewshot_landmarks.training import OPTIMISERS

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
    network_options: Mapping[str, object]
    base_epochs: int
    base_batch: int
    base_rate: float
    base_optimiser: str  # of training.OPTIMISERS
    episodes: int  # a category
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

    def settings(self, learner: type[Learner], benchmark: str) -> Learner.Settings:
        """A learner's hyperparameters at this scale, on a benchmark."""
        known = learner.Settings.__dataclass_fields__
        common = {name: value for name, value in self.common.items() if name in known}
        own = self.learners.get(learner.name, {})
        chosen = self.chosen(learner.name, benchmark)
        return learner.Settings(**{**common, **own, **chosen, **self._changed(learner.name, known)})

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

    def decides(self, *names: str) -> dict:
        """Some of the preset's numbers, for the key of the work that they decide."""
        return {name: asdict(self)[name] for name in names}


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
    size=48,
    network="small",
    network_options={"channels": 32, "width": 16},
    base_epochs=6,
    base_batch=32,
    base_rate=2e-3,
    base_optimiser="adam",
    episodes=5,
    queries=24,
    train_queries=12,
    meta_batch=1,
    crops="packed",
    common={
        "tasks": 75,
        "outer_falls": (0.7,),
        "inner_steps": 3,
        "inner_rate": 0.01,
        "tuning_steps": 8,
    },
    tuned="small",
)

FULL = Preset(
    name="full",
    drawn=Drawn("garments-full", 24_000, 1500, 2600, 190),
    size=48,
    network="small",
    network_options={"channels": 32, "width": 16},
    base_epochs=8,
    base_batch=32,
    base_rate=2e-3,
    base_optimiser="adam",
    episodes=100,
    queries=24,
    train_queries=12,
    meta_batch=1,
    crops="packed",
    common={
        "tasks": 300,
        "outer_falls": (0.7,),
        "inner_steps": 3,
        "inner_rate": 0.01,  # the paper's
        "tuning_steps": 8,
        "ppnet_tasks": 1000,
        "generator_tasks": 1000,
        "regression_tasks": 1000,
    },
    tuned="small",
    tuning=Tuning(trials=5, finalists=2, episodes=10, shots=(1, 5, 10)),
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

PRESETS = {preset.name: preset for preset in (SMOKE, MINI, FULL, STATED, DEEP, PAPER)}


TUNED = Path(__file__).with_name("tuned")  # a file a network: what tuning chose


@cache
def _tuned(name: str) -> dict:
    if name.endswith(".json"):
        return read_choices(Path(name))
    path = TUNED / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if name and path.exists() else {}


def read_choices(path: Path) -> dict:
    """A file of what tuning chose, by benchmark and learner.

    Raises `UserError` where it cannot be read, or holds anything else. A user's own learner, which
    is not found by its name alone, has whatever settings the file says.
    """
    of_ours = {name.lower() for name in REGISTRY}  # one of another case is a slip
    try:
        found = json.loads(read_regular(path, SMALL))
        every = [(name, own) for place in found.values() for name, own in place.items()]
        if not every:
            raise ValueError("it holds no choice")
        for name, own in every:
            if name.lower() not in of_ours:
                continue
            find_learner(name)
            for setting, value in own.items():
                full = f"{name}.{setting}"
                _check(f"{full}={value!r}", setting, _default(full), value)
    except OSError as error:
        raise UserError(f"cannot read choices: {path}: {error.strerror or error}") from None
    except (ValueError, AttributeError, UserError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} is not what tune --choices writes: {why}") from None
    return found


def find_preset(name: str) -> Preset:
    """The preset of a name; raises `UserError` for an unknown one."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


# ---------------------------------------------------------------------- single numbers, by --set

COMPOUND = ("drawn", "common", "learners", "tuning", "changed", "network_options")
WORDS = {
    "network": FENETS,
    "base_optimiser": OPTIMISERS,
    "crops": CROPS,
    "precision": PRECISIONS,
    "tuned": sorted({preset.tuned for preset in PRESETS.values()}),
}
POSITIVE = (
    *("size", "episodes", "queries", "train_queries", "meta_batch", "base_batch"),
    *("channels", "width"),
)


def change(preset: Preset, texts: Sequence[str]) -> Preset:
    """A preset with single numbers changed, each by a text such as "size=64".

    A name is a number of the preset, an option of its network ("precision"), a setting of every
    learner that has it ("tasks"), or of one ("MetaCloth.tasks"); settings given here go before what
    tuning chose. Raises `UserError` for an unknown name or a value that it cannot have.
    """
    numbers = {f.name for f in fields(Preset)} - {"name", "asked", *COMPOUND}
    preset = replace(preset, asked=(*preset.asked, *texts))
    for text in texts:
        name, equals, written = text.partition("=")
        value = _value(written)
        if not equals:
            raise UserError(f"--set {text}: give NAME=VALUE")
        if name == "tuned" and written.endswith(".json"):
            path = Path(written).resolve()  # the same file for every process
            read_choices(path)
            preset = replace(preset, tuned=str(path))
        elif name in numbers:
            _check(text, name, getattr(preset, name), value)
            if name == "network" and value != preset.network:  # options are a network's own
                preset = replace(preset, network_options={})
            preset = replace(preset, **{name: value})
        elif name in (options := _network_options(preset.network)):
            _check(text, name, options[name], value)
            network_options = {**preset.network_options, name: value}
            preset = replace(preset, network_options=network_options)
        else:
            _check(text, name, _default(name), value)
            learner, _, setting = name.rpartition(".")
            own = f"{find_learner(learner).name}.{setting}" if learner else name
            preset = replace(preset, changed={**preset.changed, own: value})
    if preset.size % (multiple := FENETS[preset.network].multiple):
        raise UserError(
            f"--set size={preset.size}: crops of network {preset.network} have sides that are "
            f"multiples of {multiple}"
        )
    return preset


def _network_options(network: str) -> dict:
    """A network's options with their defaults, but for its weights (--weights)."""
    parameters = signature(FENETS[network]).parameters
    return {name: p.default for name, p in parameters.items() if name != "weights"}


def _value(written: str) -> object:
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return written


def _check(text: str, name: str, before: object, value: object) -> None:
    if isinstance(value, (int, float)) and value < 0:
        raise UserError(f"--set {text}: no number here can be negative")
    kinds = (int, float) if isinstance(before, float) else type(before)
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(before, bool):
        raise UserError(f"--set {text}: {value!r} is not of the kind of {before!r}")
    if name in WORDS and value not in WORDS[name]:
        raise UserError(f"--set {text}: choose one of {', '.join(map(repr, WORDS[name]))}")
    if name in POSITIVE and value < 1:
        raise UserError(f"--set {text}: at least 1")


def _default(name: str) -> object:
    """The default of a setting that --set names; raises `UserError` if no learner has it."""
    learner, _, setting = name.rpartition(".")
    for candidate in [learner] if learner else REGISTRY:
        known = find_learner(candidate).Settings.__dataclass_fields__
        if setting in known:
            return known[setting].default
    raise UserError(
        f"--set {name}: neither a number of the presets nor a setting of "
        f"{learner or 'a learner'}; benchmarks/presets.py and the learners' Settings have them all"
    )
