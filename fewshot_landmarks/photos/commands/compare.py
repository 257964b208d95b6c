"""The work of `fewshot-landmarks compare`: `parsers.compare` says what it is."""

import argparse
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.learner import REGISTRY
from fewshot_landmarks.metrics.intervals import Estimate
from fewshot_landmarks.photos import MODELS
from fewshot_landmarks.photos.commands.common import (
    DEFAULT,
    MEAN_POSITION,
    beside_control,
    needs_no_model,
    numbers,
    one_category,
    open_model,
    png,
    stem,
)
from fewshot_landmarks.photos.comparison import (
    CLOSE,
    Adaptation,
    Crops,
    PhotoEpisodes,
    counted,
    measure,
    measure_mean_position,
    same_landmarks,
)
from fewshot_landmarks.photos.errors.by_shots import ErrorsByShots, estimate, falls
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.protocol import UNTRAINED
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_bytes, write_text
from fewshot_landmarks.support.markup import PLAIN_TEXT, Markdown, csv_text, items, markdown, pipes
from fewshot_landmarks.support.outputs import claim

FILES = ("compare.csv", "compare.md", "compare.png")
MORE = 5  # objects that one may think of annotating


def execute(arguments: argparse.Namespace) -> int:
    """Try all learners, print what was found, and write it where `--out` says."""
    if arguments.out:
        claim([arguments.out / name for name in FILES], arguments.overwrite)
    where = find_device(arguments.device)
    folder = arguments.models or MODELS
    names = find_models(folder, arguments.learner)
    if arguments.backbone and all(path for path, _ in names.values()):
        raise UserError(
            f"--backbone {arguments.backbone}: {', '.join(names)} have networks of their own; name "
            f"an untrained learner ({', '.join(UNTRAINED)})"
        )

    def opened(name: str, device: str) -> Model:
        path, of = names[name]
        on = (None, None) if path else (arguments.backbone, arguments.weights)
        return open_model(path, of, device, *on)

    support, query = (
        one_category(read_annotations(path, images=images, category=arguments.category))
        for path, images in (
            (arguments.support, arguments.support_images),
            (arguments.query, arguments.query_images),
        )
    )
    order, notes = same_landmarks(support, query)
    # A broken file shows before any work; then one model at a time is in memory.
    models = (opened(name, "cpu") for name in names)
    crops = {name: (model.size, model.learner.square) for name, model in zip(names, models)}

    @cache
    def episodes_of(size: int, square: bool) -> PhotoEpisodes:
        sides = Crops.of(support, size, square), Crops.of(query, size, square).reordered(order)
        return PhotoEpisodes.of(*sides, arguments.shots, arguments.draws, arguments.seed)

    first = episodes_of(*next(iter(crops.values())))
    notes += [*first.support.notes, *first.query.notes, *first.notes()]
    results = {}
    for name in tqdm(names, desc="comparing", unit="learner", disable=None):
        results[name] = measure(
            lambda: opened(name, where).learner, episodes_of(*crops[name]), where
        )
    control = measure_mean_position(first)
    comparison = ErrorsByShots.of(results, control, first, arguments.seed)
    text = report(comparison, results, first, notes)
    if arguments.out:
        write_text(arguments.out / "compare.csv", to_csv(results, control, first))
        write_text(arguments.out / "compare.md", text)
        write_bytes(arguments.out / "compare.png", draw(comparison))
    print(text, end="")
    return 0 if comparison.learners else 1


# ------------------------------------------------------------------------------- reading


def find_models(folder: Path, wanted: Sequence[str] | None) -> dict[str, tuple[Path | None, str]]:
    """Learners by name, in the order of the registry: the folder of each, None where it is
    untrained, and as it was asked for. All of the folder and the default one, or those wanted.

    Raises `UserError` where there is none, or not one that is wanted.
    """
    # Not A:B.safetensors: what files are called is nothing to import.
    stems = [path.stem for path in folder.glob("*.safetensors")] if folder.is_dir() else []
    there = {name for name in stems if ":" not in name}
    if not there:
        raise UserError(f"no LEARNER.safetensors in {folder}: give a folder of models, --models")
    asked = {stem(name): name for name in wanted or [*there, DEFAULT]}
    missing = {name: of for name, of in asked.items() if name not in there}
    if unknown := [name for name, of in missing.items() if not needs_no_model(of)]:
        raise UserError(
            f"no learner {unknown[0]!r} in {folder}, which has {', '.join(sorted(there))}; "
            f"untrained are {', '.join(UNTRAINED)}"
        )
    places = {name: i for i, name in enumerate(REGISTRY)}
    order = sorted(asked, key=lambda name: (places.get(name, len(places)), name))
    return {name: (None if name in missing else folder, asked[name]) for name in order}


# ------------------------------------------------------------------------------- writing


def report(
    comparison: ErrorsByShots,
    results: Mapping[str, list[Adaptation] | str],
    episodes: PhotoEpisodes,
    notes: Sequence[str],
) -> str:
    """All of it as Markdown."""
    n, asked, draws = len(episodes.support.items), len(episodes.query.items), len(episodes.order)
    repeated = f"{draws} draws of each number of shots" + f" below {n}" * (episodes.shots[-1] == n)
    about = [
        "Errors are means in units of the square root of the object's area, with 95% intervals "
        "over draws and query objects together.",
        "The mean position is no learner but a control, which looks at no photo: each landmark's "
        "mean place in the boxes of the support objects, put into the box of each query object.",
        f"{n} support objects, {repeated if draws > 1 else 'all at once'}; {asked} query objects.",
        f"Time and memory are those of the first adaptation to {counted(episodes.shots[-1])}, and of "
        "one object then, when no features are kept from earlier draws.",
    ]
    if asked == 1:
        about.append("There is no interval over one query object.")
    said = map(markdown, sentences(comparison, n))
    parts = [to_markdown(comparison, results), *said, items([*about, *notes])]
    return "\n\n".join(parts) + "\n"


def to_markdown(comparison: ErrorsByShots, results: Mapping[str, list[Adaptation] | str]) -> str:
    """A row a learner, the best of a column of errors bold; in the last row the control."""
    shots = comparison.shots
    header = ["learner", *(f"NE, {_shots(k)}" for k in shots), f"PCK@{CLOSE}, {_shots(shots[-1])}"]
    header += ["adapt, s", "one object, s", "MiB"]
    scores = {name: errors.scores for name, errors in comparison.learners.items()}
    columns = [[each.value for each in column] for column in zip(*scores.values())]
    choose = [np.nanmin] * len(shots) + [np.nanmax]
    best = [of(c) if np.isfinite(c).any() else None for of, c in zip(choose, columns)]
    lines = [header]
    for name, adaptations in results.items():
        if isinstance(adaptations, str):
            lines.append([name, f"fails: {adaptations}", *[""] * (len(header) - 2)])
            continue
        first = adaptations[0]  # of the most shots
        shown = [_shown(found, found.value == b) for found, b in zip(scores[name], best)]
        memory = "" if math.isnan(first.mib) else f"{max(first.mib, 0):.0f}"
        lines.append(
            [name, *map(Markdown, shown), f"{first.adapt:.2g}", f"{first.predict:.2g}", memory]
        )
    control = [_shown(found, False) for found in comparison.control.scores]
    return pipes([*lines, [MEAN_POSITION, *control, "", "", ""]])


def sentences(comparison: ErrorsByShots, objects: int) -> list[str]:
    """Which learner is best, whether it beats the control, and what more of the objects that there
    are would do for it.
    """
    best, most = comparison.best, counted(comparison.shots[-1])
    if best is None:
        return ["No learner gives an answer: see the table."]
    errors, control = comparison.learners[best], comparison.control
    first = f"{best} is best with {most}: error {numbers(estimate(errors.by_shots[:, -1]))}."
    others = {
        name: each.less(errors)
        for name, each in comparison.learners.items()
        if name != best and each.answered
    }
    alike = {name: found for name, found in others.items() if not found.low > 0}
    if others and all(math.isnan(found.low) for found in others.values()):
        first += " Whether another differs from it cannot be told."
    elif alike:
        told = "; ".join(f"{name}, by {numbers(found)}" for name, found in alike.items())
        rest = "; all others are worse" if len(alike) < len(others) else ""
        first += f" Not distinguishable from it, for the difference may be 0: {told}{rest}."
    elif others:
        first += " All others are distinguishable from it, and worse."

    beside = beside_control(best, estimate(control.by_shots[:, -1]), errors.less(control))

    by_shots = falls(errors.by_shots, comparison.shots)
    fall = estimate(by_shots)
    if math.isnan(fall.value):
        return [first, beside, "What more photos would do cannot be told from one number of shots."]
    doublings = math.log2((objects + MORE) / objects)
    more = estimate(by_shots * doublings)
    last = (
        f"With each doubling of the support {best}'s error falls by {numbers(fall)}; by that, "
        f"{MORE} objects more than your {objects} ({doublings:.2f} doublings) would lower it by "
        f"{numbers(more)}, an extrapolation."
    )
    if fall.low <= 0 <= fall.high:
        last += " The interval includes 0: they may not help."
    return [first, beside, last]


def _shown(found: Estimate, best: bool) -> str:
    if math.isnan(found.value):
        return "no answer"
    return numbers(found, "**" if best else "")


def _shots(count: int) -> str:
    return f"{count} shot" + "s" * (count > 1)


def to_csv(
    results: Mapping[str, list[Adaptation] | str],
    control: list[Adaptation],
    episodes: PhotoEpisodes,
) -> str:
    """A row for each adaptation; `support` holds the ids of the annotations it learnt from.

    `kind` tells learners from the control, which comes last.
    """
    rows = []
    each_of = [(name, "learner", adaptations) for name, adaptations in results.items()]
    for name, kind, adaptations in [*each_of, ("mean position", "control", control)]:
        for each in [] if isinstance(adaptations, str) else adaptations:
            count = int(episodes.scored(each.draw, each.shots).sum())
            chosen = episodes.order[each.draw, : each.shots]
            rows.append(
                {
                    "learner": name,
                    "kind": kind,
                    "shots": each.shots,
                    "draw": each.draw,
                    "ne": each.sums.sum() / count if count else math.nan,
                    f"pck@{CLOSE}": each.hits.sum() / count if count else math.nan,
                    "objects": int(episodes.asked[each.draw].sum()),
                    "landmarks": count,
                    "adapt_seconds": each.adapt,
                    "object_seconds": each.predict,
                    "mib": each.mib,
                    "support": " ".join(str(episodes.support.items[i]) for i in chosen),
                }
            )
    return csv_text(pd.DataFrame(rows), float_format="%.6f")


@rc_context(PLAIN_TEXT)
def draw(comparison: ErrorsByShots) -> bytes:
    """Error against shots as PNG: a line a learner, with its intervals, the control's dashed."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    shots = np.array(comparison.shots, float)
    # Given to the legend too, since a label that starts with _ is not shown else.
    names, lines = list(comparison.learners), list(comparison.learners.values())
    gap = np.diff(np.log2(shots)).min(initial=0.6)
    step = min(0.03, 0.5 * gap / (len(lines) + 1))
    for i, errors in enumerate([*lines, comparison.control]):
        own = i < len(lines)
        found = np.array([estimate(column) for column in errors.by_shots.T])
        axes.errorbar(
            shots * 2 ** (step * (i - len(lines) / 2)),  # side by side, not over each other
            found[:, 0],
            np.abs(found[:, 1:] - found[:, :1]).T,
            color=f"C{i % 10}" if own else "#444444",
            marker="ovs^D<>pX"[i % 9] if own else "",
            linestyle="-" if own else "--",
            linewidth=2.2 if own and names[i] == comparison.best else 1.2,
            markersize=4,
            elinewidth=0.8,
            capsize=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(shots, [f"{k:g}" for k in shots])
    axes.set(xlabel="support objects", ylabel="normalised error")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#E4E4E4")
    axes.spines[["top", "right"]].set_visible(False)
    names.append(MEAN_POSITION)
    figure.legend(axes.containers, names, loc="outside right upper", frameon=False)
    return png(figure)
