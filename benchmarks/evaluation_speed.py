"""Episodes evaluated a second, learner by learner: python -m benchmarks.evaluation_speed

As the harness evaluates them (an episode is read once for all its shots, and frozen networks see
each image once) against one by one (each number of shots by itself, everything anew). The two
take turns, round after round, in one thread; errors are compared and must be equal. Networks are
untrained, which takes as long. Writes evaluation.csv.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.commands.options import Command
from benchmarks.commands.overrides import change
from benchmarks.commands.work import asked_preset, check_garments, open_experiment
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.stages import episodes_of
from benchmarks.gpu_check import PLACE, build
from benchmarks.speed.measure import machine
from fewshot_landmarks.evaluation import evaluate_episode
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import LEARNERS, SHOTS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.tasks import Episodes

FILES = TABLE, MACHINE = "evaluation.csv", "evaluation_machine.json"


def as_the_harness(model: Learner, episodes: Episodes, device: str) -> list[float]:
    """Errors of all episodes and shots."""
    errors = []
    for number in range(len(episodes)):
        task = episodes[number].to(device)
        errors += [evaluate_episode(model, task, k).ne for k in SHOTS]
    return errors


def one_by_one(model: Learner, episodes: Episodes, device: str) -> list[float]:
    """The same errors, each from the beginning."""
    return [
        evaluate_episode(model, episodes[number].to(device), k).ne
        for number in range(len(episodes))
        for k in SHOTS
    ]


WAYS: dict[str, tuple[Callable, bool]] = {
    "as the harness": (as_the_harness, True),
    "one by one": (one_by_one, False),
}


def measure(experiment: Experiment, name: str, episodes: Episodes, rounds: int) -> dict:
    """Episodes a second each way (the best round), each at all numbers of shots."""
    best, found = dict.fromkeys(WAYS, math.inf), {}
    for _ in range(rounds):
        for way, (evaluate, kept) in WAYS.items():
            preset = experiment.preset if kept else change(experiment.preset, ["feature_cache=0"])
            model = build(preset, name, experiment.device).eval()
            began = time.perf_counter()
            found[way] = evaluate(model, episodes, experiment.device)
            best[way] = min(best[way], time.perf_counter() - began)
    first, second = found.values()
    if not torch.allclose(torch.tensor(first), torch.tensor(second), atol=1e-3, equal_nan=True):
        raise ValueError(f"{name}: the two ways do not find the same errors")
    harness, single = best.values()
    return {
        "learner": name,
        "episodes_a_second": len(episodes) / harness,
        "one_by_one": len(episodes) / single,
        "ratio": single / harness,
    }


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--episodes", type=int, default=10, help="of one category (default: 10)")
    parser.add_argument("--rounds", type=int, default=2, help="default: 2")
    parser.set_defaults(out=Path("results/speed"))


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    if arguments.episodes < 1 or arguments.rounds < 1:
        raise UserError("--episodes and --rounds: at least 1")
    torch.set_num_threads(1)
    preset = replace(asked_preset(arguments, own=("episodes",)), episodes=arguments.episodes)
    for name in arguments.learner:
        find_learner(name)
    check_garments(arguments)
    out, experiment = open_experiment(arguments, preset, FILES)
    episodes = episodes_of(experiment, PLACE.unseen[0])
    rows = []
    for name in tqdm(arguments.learner or LEARNERS, unit="learner"):
        rows.append(measure(experiment, name, episodes, arguments.rounds))
    frame = pd.DataFrame(rows).round(4)
    print(frame.to_string(index=False))
    write_text(out / TABLE, csv_text(frame))
    about = {"preset": preset.name, **machine(experiment.device)}
    write_text(out / MACHINE, json.dumps(about, indent=1) + "\n")


main = Command(
    "evaluation_speed",
    __doc__,
    execute,
    options,
    preset="full",
    seed_of="networks",
    learners="the nine",
)

if __name__ == "__main__":
    sys.exit(main())
