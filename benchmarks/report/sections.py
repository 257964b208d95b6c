"""What the report shows beside the paper's tables and claims, without torch.

Trust in scores, training seeds compared, the data, tuning, costs and settings: each a pure function
of a file that a command left in a results directory.
"""

import json
import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from benchmarks.report.text_table import DASH, TextTable, fixed, interval, ordered
from benchmarks.results.reading import calibration_errors, titles
from benchmarks.results.schemas import LABELLED, REHEARSED, UNSEEN
from benchmarks.tables.controls import AGAINST, HEADS, called, is_better
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import LEARNERS, UNTRAINED

# ----------------------------------------------------------------------------- scores


def calibration_table(frame: pd.DataFrame) -> TextTable:
    """Expected calibration errors by learner, two columns a benchmark."""
    errors = calibration_errors(frame)
    places = list(dict.fromkeys(frame["benchmark"]))
    kinds = {UNSEEN: "all", LABELLED: "labelled"}
    found = {(*key, kind): errors[kind].get(key) for key in errors.index for kind in errors}
    keys = [(place, kind) for place in places for kind in kinds]
    rows = [
        (learner, *(fixed(found.get((place, learner, kind), math.nan)) for place, kind in keys))
        for learner in ordered(frame["learner"])
    ]
    return TextTable(("learner", *(f"{place}, {kinds[kind]}" for place, kind in keys)), rows)


# --------------------------------------------------------------------------- controls


def beside_controls(table: pd.DataFrame) -> list[tuple[str, TextTable]]:
    """Table 5, a table a benchmark; a difference that is surely below zero has a tick."""
    found = []
    for benchmark, rows in table.groupby("benchmark", sort=False):
        lines = []
        for row in rows.to_dict("records"):
            pairs = [
                (row[f"less_{short}"], row[f"less_{short}_ci95"]) for short in AGAINST.values()
            ]
            less = [interval(*pair, sign=True) + " ✓" * is_better(*pair) for pair in pairs]
            lines.append((called(row["learner"]), interval(row["ne"], row["ci95"]), *less))
        found.append((str(benchmark), TextTable(("learner", "NE", *HEADS.values()), lines)))
    return found


# ---------------------------------------------------------------------- training seeds


def seed_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """One learner on one benchmark: each episode's mean over the shots, a column a seed.

    A seed that lacks an episode which another has, or that has no finite error for one that
    could be scored, is left out; so is an episode with nothing to score.
    """
    counts = rows.groupby("seed").size()
    failed = rows.loc[(rows["scored"] > 0) & ~np.isfinite(rows["ne"]), "seed"]
    whole = [seed for seed in counts.index[counts == counts.max()] if seed not in set(failed)]
    kept = rows[rows["seed"].isin(whole)]
    wide = kept.pivot(index=["category", "episode"], columns=["seed", "shots"], values="ne")
    means = {seed: wide[seed].mean(axis=1, skipna=False) for seed in whole}
    return pd.DataFrame(means).dropna()


def spread(episodes: pd.DataFrame) -> dict | None:
    """Training seeds compared, where a learner has more than one: on the same episodes.

    A difference is a seed's error less the first seed's, episode by episode.
    """
    trained = episodes.groupby("learner")["seed"].agg(lambda seeds: sorted(map(int, set(seeds))))
    trained = {n: seeds for n, seeds in trained.items() if len(seeds) > 1 and n not in UNTRAINED}
    if not trained:
        return None
    every = sorted({seed for seeds in trained.values() for seed in seeds})
    heads = ["learner and benchmark", *(f"seed {seed}" for seed in every)]
    heads += [f"{seed} less first" for seed in every[1:]] + ["seeds averaged", "episodes"]
    rows, parted, gaps, widths = [], 0, [], []
    for learner in ordered(trained):
        for benchmark, own in episodes[episodes["learner"] == learner].groupby("benchmark"):
            if own["seed"].nunique() < 2:
                continue
            errors = seed_errors(own)
            differences = {
                seed: mean_interval(errors[seed] - errors[errors.columns[0]])
                for seed in errors.columns[1:]
            }
            mean, ci95 = mean_interval(errors.mean(axis=1))
            seeds = [fixed(errors[s].mean()) if s in errors else DASH for s in every]
            less = [_difference(differences.get(seed)) for seed in every[1:]]
            name = f"{learner}, {benchmark}"
            rows.append((name, *seeds, *less, interval(mean, ci95), str(len(errors))))
            parted += sum(abs(gap) > half for gap, half in differences.values())
            gaps += [abs(gap) for gap, _ in differences.values()]
            widths += [ci95] * len(differences)
    return {
        "table": TextTable(tuple(heads), rows),
        "pairs": len(gaps),
        "parted": parted,
        "gap": fixed(float(np.median(gaps)) if gaps else math.nan, 4),
        "largest": fixed(max(gaps, default=math.nan), 4),
        "width": fixed(float(np.median(widths)) if widths else math.nan, 4),
    }


def agreement(episodes: pd.DataFrame) -> TextTable | None:
    """Spearman's correlation of the nine learners' order between every two training seeds.

    Bounds what agreement with the paper's order to expect. None without two seeds of
    all nine on any benchmark.
    """
    errors = episodes[episodes["learner"].isin(LEARNERS)]
    means = errors.groupby(["benchmark", "learner", "seed"])["ne"].mean().unstack("seed")
    rows = []
    for benchmark, own in means.groupby(level="benchmark"):
        own = own.dropna(axis=1) if len(own) == len(LEARNERS) else own.iloc[:, :0]
        for one, other in combinations(own, 2):
            rho = own[one].corr(own[other], method="spearman")
            rows.append((benchmark, f"{one} and {other}", fixed(rho, 2)))
    return TextTable(("benchmark", "seeds", "Spearman"), rows) if rows else None


def _difference(pair: tuple[float, float] | None) -> str:
    """A paired difference, starred where its interval leaves zero out."""
    if pair is None:
        return DASH
    return interval(*pair, sign=True) + " *" * (abs(pair[0]) > pair[1])


# -------------------------------------------------------------- data, tuning and costs


def adequacy(frame: pd.DataFrame) -> TextTable:
    """The numbers on the data themselves, as they were measured."""
    rows = [
        (
            row["measure"],
            row["benchmark"] or DASH,
            row["categories"] or DASH,
            str(row["shots"]),
            interval(row["value"], row["ci95"]),
            str(row["episodes"]),
        )
        for _, row in frame.iterrows()
    ]
    heads = ("measure", "benchmark", "categories", "shots", "value ± 95% interval", "episodes")
    return TextTable(heads, rows, heads[1:3])


def tuning(frame: pd.DataFrame) -> tuple[TextTable, TextTable]:
    """What tuning chose for each learner and benchmark, and all its trials."""
    frame = frame.assign(mean=frame[list(REHEARSED)].mean(axis=1, skipna=False))
    frame = frame.assign(picked=frame["chosen"].str.lower().isin(("true", "1")))
    chosen, trials = [], []
    for learner in ordered(frame["learner"]):
        for benchmark, own in frame[frame["learner"] == learner].groupby("benchmark"):
            own = own.sort_values("trial")
            name = f"{learner}, {benchmark}"
            first, best = own[own["trial"] == 0], own[own["picked"]]
            start = first["score"].iloc[0] if len(first) else math.nan
            score = best["score"].iloc[0] if len(best) else math.nan
            mean = best["mean"].iloc[0] if len(best) else math.nan
            words = _parameters(best["parameters"].iloc[0]) if len(best) else DASH
            gain = fixed(score - start, sign=True)
            numbers = (fixed(start), fixed(score), gain, fixed(mean))
            chosen.append((name, str(len(own)), *numbers, words))
            trials += [
                (
                    name,
                    str(row["trial"]),
                    *(fixed(row[rehearsal]) for rehearsal in REHEARSED),
                    "chosen" if row["picked"] else "",
                    _parameters(row["parameters"]),
                    fixed(row["seconds"], 0),
                )
                for _, row in own.iterrows()
            ]
    what = "learner and benchmark"
    heads = (what, "trials", "default", "chosen", "change", "all three", "chosen parameters")
    every = (what, "trial", *REHEARSED, "", "parameters", "seconds")
    return TextTable(heads, chosen, heads[-1:]), TextTable(every, trials, every[5:7])


def horizon(frame: pd.DataFrame) -> TextTable:
    """Errors on rehearsals against the number of training tasks."""
    counts = sorted(frame["tasks"].unique())
    rows = []
    for learner in ordered(frame["learner"]):
        for benchmark, own in frame[frame["learner"] == learner].groupby("benchmark"):
            errors = own.set_index("tasks")["error"].reindex(counts)
            change = fixed(errors.iloc[-1] - errors.iloc[0], sign=True)
            rows.append((f"{learner}, {benchmark}", *map(fixed, errors), change))
    return TextTable(("learner and benchmark", *(f"{n} tasks" for n in counts), "change"), rows)


def _parameters(text: str) -> str:
    """Hyperparameters from JSON, as "name = value"; "default" for none."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if not isinstance(values, dict):
        return text
    return ", ".join(f"{name} = {_plain(value)}" for name, value in values.items()) or "default"


def _plain(value: object) -> str:
    """A setting as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int | str) else json.dumps(value)


def per_episode(costs: pd.DataFrame, episodes: pd.DataFrame) -> dict[str, float]:
    """Milliseconds of an evaluated episode by learner: to adapt, and to answer its queries.

    A control's episode is evaluated once, for all benchmarks and training seeds.
    """
    found = {}
    counts = episodes.groupby(["learner", "benchmark", "seed"]).size()
    once = episodes.drop_duplicates(["learner", "category", "episode", "shots"])["learner"]
    for learner, own in costs[costs["stage"] == "evaluate"].groupby("name"):
        if learner not in counts:
            continue
        if learner in UNTRAINED:
            found[learner] = 1000 * float(own["seconds"].sum()) / int((once == learner).sum())
            continue
        seconds = own.groupby(["benchmark", "seed"])["seconds"].sum()
        both = pd.concat({"seconds": seconds, "rows": counts[learner]}, axis=1, join="inner")
        if both["rows"].sum():
            found[learner] = 1000 * float(both["seconds"].sum()) / int(both["rows"].sum())
    return found


def learner_costs(costs: pd.DataFrame, episodes: pd.DataFrame) -> TextTable:
    """What each learner took to train and to evaluate."""
    speed = per_episode(costs, episodes)
    rows = []
    for learner in ordered(costs.loc[costs["stage"].isin(("fit", "evaluate")), "name"]):
        own = costs[(costs["name"] == learner) & costs["stage"].isin(("fit", "evaluate"))]
        seconds = own.groupby("stage")["seconds"].sum()
        rows.append(
            (
                learner,
                *(fixed(seconds.get(stage, math.nan), 0) for stage in ("fit", "evaluate")),
                fixed(speed.get(learner, math.nan), 1),
                fixed(own["peak_mib"].max(), 0),
            )
        )
    return TextTable(
        ("learner", "fit, s", "evaluate, s", "ms an episode", "peak memory, MiB"), rows
    )


def other_costs(costs: pd.DataFrame) -> TextTable:
    """Every stage, the base models one by one, and the sum."""
    named = costs["stage"].where(costs["stage"] != "base", "base model, " + costs["name"])
    order = ["draw", *sorted(set(named[costs["stage"] == "base"])), "probe", "tune", "fit"]
    order += ["evaluate", *sorted(set(named) - {*order, "evaluate"})]
    groups = dict(list(costs.groupby(named)))
    parts = [(name, groups[name]) for name in order if name in groups] + [("all", costs)]
    rows = [
        (
            name,
            fixed(part["seconds"].sum(), 0),
            fixed(part["seconds"].sum() / 3600, 2),
            fixed(part["peak_mib"].max(), 0),
        )
        for name, part in parts
    ]
    return TextTable(("stage", "seconds", "hours", "peak memory, MiB"), rows)


# ---------------------------------------------------------------------- what made it


def settings(run: Mapping) -> list[tuple[str, TextTable]]:
    """The learners' settings, a column a learner; by benchmark where the run has them so."""
    given = run.get("settings") or {}
    split = bool(given) and set(given) <= set(titles(run))
    return [(name, _settings(own)) for name, own in (given if split else {"": given}).items()]


def _settings(given: Mapping[str, Mapping]) -> TextTable:
    names = list(dict.fromkeys(name for own in given.values() for name in own))
    rows = [
        (name, *(_plain(own[name]) if name in own else "" for own in given.values()))
        for name in names
    ]
    return TextTable(("setting", *given), rows)


def flat(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as dotted names and texts."""
    pairs = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, _plain(value)))
    return pairs


def made_by(run: Mapping) -> dict[str, TextTable]:
    """The preset's numbers, the data, the benchmarks and the versions."""
    parts = {"Preset": "numbers", "Data": "data", "Versions": "versions"}
    tables = {title: flat(run.get(key) or {}) for title, key in parts.items()}
    tables["Benchmarks"] = [
        (f"{name}, {side}", ", ".join(benchmark.get(side) or ()))
        for name, benchmark in (run.get("benchmarks") or {}).items()
        for side in ("seen", "unseen")
    ]
    return {t: TextTable(("name", "value"), rows, ("value",)) for t, rows in tables.items() if rows}
