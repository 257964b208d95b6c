"""Single numbers of a preset, changed by --set, and files of choices, checked before any work."""

import ast
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from benchmarks.presets import CROPS, PRESETS, Preset, not_choices, read_choices
from fewshot_landmarks.learner import REGISTRY, find_learner
from fewshot_landmarks.networks.fenets import FENETS, PRECISIONS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import OPTIMISERS

COMPOUND = ("drawn", "common", "learners", "tuning", "changed", "network_options")
WORDS: dict[str, Collection[str]] = {
    "network": FENETS,
    "base_optimiser": OPTIMISERS,
    "crops": CROPS,
    "precision": PRECISIONS,
    "tuned": sorted({preset.tuned for preset in PRESETS.values()}),
}
POSITIVE = (
    *("size", "episodes", "control_episodes", "queries", "train_queries", "meta_batch"),
    *("base_batch", "channels", "width"),
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
            check_choices(path)
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


def with_weights(preset: Preset, path: Path) -> Preset:
    """The preset with its network's weights from a file, which is read once to try."""
    options = {**preset.network_options, "weights": str(path.resolve())}
    if not FENETS[preset.network].pretrained:
        raise UserError(f"--weights {path}: the network of preset {preset.name} has none to load")
    FENETS[preset.network](**options)
    return replace(preset, network_options=options)


def check_choices(path: Path) -> None:
    """Raise `UserError` where a file of choices names a setting or a value that none can have.

    A user's own learner, which is not found by its name alone, has whatever settings the file says.
    """
    found, of_ours = read_choices(path), {name.lower() for name in REGISTRY}
    try:
        for place in found.values():
            for name, own in place.items():
                if name.lower() not in of_ours:  # one of another case is a slip
                    continue
                find_learner(name)
                for setting, value in own.items():
                    full = f"{name}.{setting}"
                    _check(f"{full}={value!r}", setting, _default(full), value)
    except UserError as error:
        raise not_choices(path, error) from None


def _network_options(network: str) -> dict:
    """A network's options with their defaults, but for its weights (--weights)."""
    parameters = signature(FENETS[network]).parameters
    return {name: p.default for name, p in parameters.items() if name != "weights"}


def _value(written: str) -> Any:
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return written


def _check(text: str, name: str, before: Any, value: Any) -> None:
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
