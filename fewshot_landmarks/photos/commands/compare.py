"""The work of `fewshot-landmarks compare`: `parsers.compare` says what it is."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.learner import REGISTRY
from fewshot_landmarks.metrics.intervals import RESAMPLES, Estimate
from fewshot_landmarks.photos.commands.common import one_category, open_model, png, stem
from fewshot_landmarks.photos.comparison import (
    CLOSE,
    Adaptation,
    Crops,
    PhotoEpisodes,
    counted,
    measure,
    same_landmarks,
)
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
    names = find_models(arguments.models, arguments.learner)
    support, query = (
        one_category(read_annotations(path, images=images, category=arguments.category))
        for path, images in (
            (arguments.support, arguments.support_images),
            (arguments.query, arguments.query_images),
        )
    )
    order, notes = same_landmarks(support, query)
    # A broken file shows before any work; then one model at a time is in memory.
    sizes = {name: open_model(arguments.models, of, "cpu").size for name, of in names.items()}

    @cache
    def episodes_of(size: int) -> PhotoEpisodes:
        sides = Crops.of(support, size), Crops.of(query, size).reordered(order)
        return PhotoEpisodes.of(*sides, arguments.shots, arguments.draws, arguments.seed)

    first = episodes_of(next(iter(sizes.values())))
    notes += [*first.support.notes, *first.query.notes, *first.notes()]
    results = {}
    for name, of in tqdm(names.items(), desc="comparing", unit="learner", disable=None):
        results[name] = measure(
            lambda: open_model(arguments.models, of, where).learner, episodes_of(sizes[name]), where
        )
    comparison = ErrorsByShots.of(results, first, arguments.seed)
    text = report(comparison, results, first, notes)
    if arguments.out:
        write_text(arguments.out / "compare.csv", to_csv(results, first))
        write_text(arguments.out / "compare.md", text)
        write_bytes(arguments.out / "compare.png", draw(comparison))
    print(text, end="")
    return 0 if comparison.errors else 1


# ------------------------------------------------------------------------------- reading


def find_models(folder: Path, wanted: Sequence[str] | None) -> dict[str, str]:
    """Learners of a folder by name, as they were asked for, in the order of the paper; all, or
    those wanted.

    Raises `UserError` where there is none, or not one that is wanted.
    """
    # Not A:B.safetensors: what files are called is nothing to import.
    stems = [path.stem for path in folder.glob("*.safetensors")] if folder.is_dir() else []
    there = {name for name in stems if ":" not in name}
    if not there:
        raise UserError(f"no LEARNER.safetensors in {folder}: give a folder of models, --models")
    asked = {stem(name): name for name in wanted or there}
    if unknown := [name for name in asked if name not in there]:
        raise UserError(
            f"no learner {unknown[0]!r} in {folder}, which has {', '.join(sorted(there))}"
        )
    places = {name: i for i, name in enumerate(REGISTRY)}
    order = sorted(asked, key=lambda name: (places.get(name, len(places)), name))
    return {name: asked[name] for name in order}


# ----------------------------------------------------------------------------- comparing


def resamples(draws: int, objects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each draw and each query object counts: (1 + RESAMPLES, D) and (1 + .., Q).

    Once each in the first row; in the others as drawn with replacement, both at once.
    """
    random = np.random.default_rng(seed)
    counts = (random.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in (draws, objects))
    drawn, chosen = (np.vstack([np.ones(each.shape[1]), each]) for each in counts)
    return drawn, chosen


def means(
    sums: np.ndarray, counts: np.ndarray, drawn: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """For each resample the mean over draws of the mean over scored landmarks: (1 + RESAMPLES,).

    sums, counts: (D, Q), of the scored landmarks of an object in a draw. A single draw is there in
    every resample. NaN where nothing is scored.
    """
    total, count = chosen @ sums.T, chosen @ counts.T
    weight = (drawn if len(sums) > 1 else 1) * (count > 0)
    with np.errstate(invalid="ignore"):
        return (weight * total / np.maximum(count, 1)).sum(1) / weight.sum(1)


def falls(errors: np.ndarray, shots: Sequence[int]) -> np.ndarray:
    """For each resample the fall of the error with each doubling of the shots: (R,).

    errors: (R, K). It is that of the straight line through the mean errors, by least squares on
    log2 of the shots. NaN for less than two numbers of shots.
    """
    known = np.isfinite(errors[0])
    x = np.log2(np.array(shots, np.float64)[known])
    if len(x) < 2:
        return np.full(len(errors), math.nan)
    x -= x.mean()
    return -(errors[:, known] @ x) / (x @ x)


def estimate(values: np.ndarray) -> Estimate:
    """The first of values (1 + RESAMPLES,), with the 95% percentile interval of the others."""
    if np.isnan(values[0]) or np.isnan(values[1:]).all():
        return Estimate(float(values[0]))
    return Estimate(float(values[0]), *np.nanpercentile(values[1:], (2.5, 97.5)).tolist())


@dataclass(frozen=True, eq=False)
class ErrorsByShots:
    """Errors of the learners that can learn the category, for the same resamples."""

    shots: tuple[int, ...]
    errors: Mapping[str, np.ndarray]  # by learner: (1 + RESAMPLES, K), see `means`
    close: Mapping[str, np.ndarray]  # PCK, (1 + RESAMPLES,) with the most shots

    @classmethod
    def of(
        cls, results: Mapping[str, list[Adaptation] | str], episodes: PhotoEpisodes, seed: int
    ) -> "ErrorsByShots":
        draws, objects = episodes.asked.shape
        weights = resamples(draws, objects, seed)
        counts = {shots: episodes.counts(shots) for shots in episodes.shots}
        errors, close = {}, {}
        for name, adaptations in results.items():
            if isinstance(adaptations, str):
                continue
            by = {k: [each for each in adaptations if each.shots == k] for k in episodes.shots}
            sums = {k: np.stack([each.sums for each in own]) for k, own in by.items()}
            errors[name] = np.stack(
                [means(sums[k], counts[k], *weights) for k in episodes.shots], 1
            )
            most = episodes.shots[-1]
            hits = np.stack([each.hits for each in by[most]])
            close[name] = means(hits, counts[most], *weights)
        if objects == 1:  # no interval over one object
            for values in (*errors.values(), *close.values()):
                values[1:] = math.nan
        return cls(episodes.shots, errors, close)

    def scores(self, learner: str) -> list[Estimate]:
        """Errors with each number of shots, and PCK with the most."""
        columns = [*self.errors[learner].T, self.close[learner]]
        return [estimate(column) for column in columns]

    @property
    def best(self) -> str | None:
        """The learner with the least error with the most shots; None if there is none."""
        known = {n: e[0, -1] for n, e in self.errors.items() if np.isfinite(e[0, -1])}
        return min(known, key=known.__getitem__, default=None)

    def difference(self, learner: str) -> Estimate:
        """Its error less the best one's, with the most shots, on the same resamples."""
        return estimate(self.errors[learner][:, -1] - self.errors[self.best or ""][:, -1])


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
    """A row a learner; the best of a column of errors is bold."""
    shots = comparison.shots
    header = ["learner", *(f"NE, {_shots(k)}" for k in shots), f"PCK@{CLOSE}, {_shots(shots[-1])}"]
    header += ["adapt, s", "one object, s", "MiB"]
    scores = {name: comparison.scores(name) for name in comparison.errors}
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
    return pipes(lines)


def sentences(comparison: ErrorsByShots, objects: int) -> list[str]:
    """Which learner is best, and what more of the objects that there are would do for it."""
    best, most = comparison.best, counted(comparison.shots[-1])
    if best is None:
        return ["No learner gives an answer: see the table."]
    errors = comparison.errors[best]
    first = f"{best} is best with {most}: error {_numbers(estimate(errors[:, -1]))}."
    others = {
        name: comparison.difference(name)
        for name, each in comparison.errors.items()
        if name != best and np.isfinite(each[0, -1])
    }
    alike = {name: found for name, found in others.items() if not found.low > 0}
    if others and all(math.isnan(found.low) for found in others.values()):
        first += " Whether another differs from it cannot be told."
    elif alike:
        told = "; ".join(f"{name}, by {_numbers(found)}" for name, found in alike.items())
        rest = "; all others are worse" if len(alike) < len(others) else ""
        first += f" Not distinguishable from it, for the difference may be 0: {told}{rest}."
    elif others:
        first += " All others are distinguishable from it, and worse."

    by_shots = falls(errors, comparison.shots)
    fall = estimate(by_shots)
    if math.isnan(fall.value):
        return [first, "What more photos would do cannot be told from one number of shots."]
    doublings = math.log2((objects + MORE) / objects)
    more = estimate(by_shots * doublings)
    second = (
        f"With each doubling of the support {best}'s error falls by {_numbers(fall)}; by that, "
        f"{MORE} objects more than your {objects} ({doublings:.2f} doublings) would lower it by "
        f"{_numbers(more)}, an extrapolation."
    )
    if fall.low <= 0 <= fall.high:
        second += " The interval includes 0: they may not help."
    return [first, second]


def _shown(found: Estimate, best: bool) -> str:
    if math.isnan(found.value):
        return "no answer"
    return _numbers(found, "**" if best else "")


def _numbers(found: Estimate, mark: str = "") -> str:
    ends = "" if math.isnan(found.low) else f" ({found.low:.4f} to {found.high:.4f})"
    return f"{mark}{found.value:.4f}{mark}{ends}"


def _shots(count: int) -> str:
    return f"{count} shot" + "s" * (count > 1)


def to_csv(results: Mapping[str, list[Adaptation] | str], episodes: PhotoEpisodes) -> str:
    """A row for each adaptation; `support` holds the ids of the annotations it learnt from."""
    rows = []
    for name, adaptations in results.items():
        for each in [] if isinstance(adaptations, str) else adaptations:
            count = int(episodes.scored(each.draw, each.shots).sum())
            chosen = episodes.order[each.draw, : each.shots]
            rows.append(
                {
                    "learner": name,
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
    """Error against shots as PNG: a line a learner, with its intervals."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    shots = np.array(comparison.shots, float)
    middle = (len(comparison.errors) - 1) / 2
    gap = np.diff(np.log2(shots)).min(initial=0.6)
    step = min(0.03, 0.5 * gap / len(comparison.errors or [1]))
    for i, (name, errors) in enumerate(comparison.errors.items()):
        found = np.array([estimate(column) for column in errors.T])
        axes.errorbar(
            shots * 2 ** (step * (i - middle)),  # side by side, not over each other
            found[:, 0],
            np.abs(found[:, 1:] - found[:, :1]).T,
            label=name,
            color=f"C{i % 10}",
            marker="ovs^D<>pX"[i % 9],
            linewidth=2.2 if name == comparison.best else 1.2,
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
    if comparison.errors:
        names = list(comparison.errors)  # given, since a label that starts with _ is not shown else
        figure.legend(axes.containers, names, loc="outside right upper", frameon=False)
    return png(figure)
