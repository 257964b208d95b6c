"""What a results directory holds, read and checked: no torch.

A file that is missing or broken is a `UserError` of one line that says what makes it again.
"""

import argparse
import gzip
import io
import json
import shlex
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.results import trust
from fewshot_landmarks.protocol import BENCHMARKS
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, is_whole, open_regular, read_regular
from fewshot_landmarks.support.markup import unquoted
from fewshot_landmarks.support.outputs import add_overwrite, claim

MOST = 2**29  # bytes of a file when it is unpacked; the largest that is known has 65 MB
KEY = ["benchmark", "learner", "seed", "category", "episode", "shots"]  # one row each
EPISODES = dict.fromkeys(KEY, str) | dict.fromkeys(("seed", "episode", "shots", "scored"), int)
EPISODES |= {"ne": float, "left_out": int, "landmarks": str}
PROBED = ["benchmark", "model", "seed", "category", "episode", "shots"]  # one row each
SIMILARITIES = dict.fromkeys(PROBED, str) | dict.fromkeys(("seed", "episode", "shots"), int)
SIMILARITIES |= dict.fromkeys(("before_after", "between"), float)
CURVES = {"benchmark": str, "learner": str, "seed": int, "step": int, "loss": float}
Maps = Mapping[str, Mapping[str, np.ndarray]]  # the arrays of each place


# ------------------------------------------------------------------------------- the files


def read_episodes(directory: str | Path) -> pd.DataFrame:
    """The records of a results directory, one row an evaluated episode, sorted by its key."""
    path = _existing(directory, "episodes.csv.gz")
    frame = read_table(path, EPISODES, KEY)
    if unknown := sorted(set(frame["benchmark"]) - set(titles(read_run(directory)))):
        raise UserError(f"{path} has benchmarks that no table shows: {', '.join(unknown)}")
    return frame.sort_values(KEY, ignore_index=True)


def read_run(directory: str | Path) -> dict:
    """What made the records: `run.json`, of which only "preset" must be there."""
    path = _existing(directory, "run.json")
    try:
        run = json.loads(read_regular(path, SMALL))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read, run the benchmark again: {error}") from error
    if not isinstance(run, dict) or "preset" not in run:
        raise UserError(f'{path} does not name the "preset" of the run')
    return run


def read_similarities(directory: str | Path) -> pd.DataFrame | None:
    """What `probes.similarities` measured; None where there is no such file."""
    path = Path(directory, "similarities.csv")
    return read_table(path, SIMILARITIES, PROBED) if path.is_file() else None


def read_curves(directory: str | Path) -> pd.DataFrame:
    """Losses in training."""
    return read_table(Path(directory, "curves.csv.gz"), CURVES)


def read_calibration(directory: str | Path) -> pd.DataFrame:
    """How often landmarks of a score are found."""
    return read_table(Path(directory, trust.FILE), trust.COLUMNS, by="benchmarks.export")


def read_heatmaps(directory: str | Path) -> Maps:
    """What `probes.heatmaps` measured."""
    path, maps = Path(directory, "heatmaps.npz"), {}
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as archive:
            _check_room(sum(member.file_size for member in archive.zip.infolist()))
            for key in archive.files:
                place, _, name = key.rpartition("/")
                maps.setdefault(place, {})[name] = archive[key]
    except (
        OSError, EOFError, MemoryError, zlib.error, ValueError, AttributeError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        raise _unreadable(path, error) from error
    return maps


def read_table(
    path: Path, columns: Mapping[str, type], key: Sequence[str] = (), by: str = "the benchmark"
) -> pd.DataFrame:
    """A table of a results directory, its columns of the types that are given.

    Only numbers that are no integers have missing values: a learner may be called "NA".

    key: columns that no two rows agree on.
    by: the command that makes it.
    """
    numbers = [name for name, kind in columns.items() if kind is float]
    missing = {name: ["", "nan", "NaN"] for name in numbers}
    try:
        with open_regular(path) as file:
            options = {"dtype": columns, "keep_default_na": False, "na_values": missing}
            content = (gzip.open(file) if path.suffix == ".gz" else file).read(MOST + 1)
        _check_room(len(content))
        frame = pd.read_csv(io.BytesIO(content), **options)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error, by) from error
    if absent := [name for name in columns if name not in frame]:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}: run {by} again")
    texts = [name for name, kind in columns.items() if kind is str]
    frame = frame.assign(**{name: unquoted(frame[name]) for name in texts})
    if key and (twice := frame.duplicated(key)).any():
        row = ", ".join(map(str, frame.loc[twice, key].iloc[0]))
        raise UserError(f"{path} has more than one row for {row}")
    return frame


def _check_room(size: int) -> None:
    """Raise `ValueError` where a file, unpacked, would fill memory."""
    if size > MOST:
        raise ValueError(f"more than {MOST >> 20} MiB when it is unpacked")


def _existing(directory: str | Path, name: str) -> Path:
    if not Path(directory).is_dir():
        raise UserError(f"no results directory {directory}: python -m benchmarks.run makes one")
    path = Path(directory) / name
    if not path.is_file():
        raise UserError(f"no {name} in {directory}: python -m benchmarks.run writes it")
    return path


def _unreadable(path: Path, error: Exception, by: str = "the benchmark") -> UserError:
    why = " ".join(str(error).split())
    return UserError(f"{path} cannot be read, run {by} again: {why}")


# -------------------------------------------------------------------- what a run says of itself


def titles(run: dict) -> dict[str, str]:
    """The benchmarks of a run and their titles: the paper's, or those of another data set."""
    own = run_field(run, "benchmarks", default={})
    if set(own) <= set(BENCHMARKS):
        return {name: benchmark.title for name, benchmark in BENCHMARKS.items()}
    return {name: str(run_field(own, name, "title", default="")) for name in own}


def run_field(run: dict, *path: str, default=None):
    """A nested field of the run, or the default where any part of the path is absent."""
    for key in path:
        run = run.get(key) if isinstance(run, dict) else None
    return default if run is None else run


def asked(run: dict) -> list[str]:
    """The --set and --weights that a run was given."""
    given = run_field(run, "numbers", "asked", default=())
    words = [word for text in given for word in option("--set", text)]
    weights = run_field(run, "numbers", "network_options", "weights")
    return words + option("--weights", weights) if weights else words


def option(name: str, value: object) -> list[str]:
    """An option of a command as words, whatever its value begins with."""
    return [f"{name}={value}"] if str(value).startswith("-") else [name, str(value)]


def remembered(directory: str | Path) -> dict:
    """What the last run here was given, as `store.remember` keeps it; empty without its work."""
    path = Path(directory, "work", "asked.json")
    try:
        said = json.loads(read_regular(path, SMALL)) if is_whole(path) else {}
        words = {name: list(map(str, said[name])) for name in ("options", "of_run")}
        return words | {"learners": {str(name): str(at) for name, at in said["learners"].items()}}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def run_command(
    directory: str | Path, run: dict, words: Sequence[str], module: str = "benchmarks.run"
) -> str:
    """A command with these arguments, and those that the run here was given.

    What is not known any more stands in capitals: where the photographs are.
    """
    data = option("--data", "DATA") * (run_field(run, "data", "difficulty") == "real")
    given = remembered(directory)
    words = [*words, *given.get("options", [*asked(run), *data])]
    words += given.get("of_run", []) * (module == "benchmarks.run")
    usual = Path(directory).resolve() == Path("results", str(run["preset"])).resolve()
    words += option("--out", directory) * (not usual)
    return shlex.join(["python", "-m", module, *words])


# -------------------------------------------------------------------------------- commands


def results_command(
    act: Callable[[Path], None],
    files: Sequence[str],
    description: str,
    preset: str,
    arguments: Sequence[str] | None,
) -> int:
    """A command on the results directory that its arguments name, to which it writes `files`."""
    parser = argparse.ArgumentParser(description=description)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--results", type=Path, metavar="DIR", help="a results directory")
    where.add_argument(
        "--preset", metavar="NAME", default=preset, help="for results/NAME (default: %(default)s)"
    )
    add_overwrite(parser)

    def execute(options: argparse.Namespace) -> None:
        directory = options.results or Path("results", options.preset)
        if directory.is_dir():
            claim([directory / file for file in files], options.overwrite)
        act(directory)

    return answer(execute, parser.parse_args(arguments))
