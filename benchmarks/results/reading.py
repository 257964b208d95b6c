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
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.results.schemas import (
    EPISODES,
    HEATMAPS,
    RUN,
    Schema,
)
from fewshot_landmarks.metrics.calibration import Bins, binned_error
from fewshot_landmarks.protocol import BENCHMARKS
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, is_whole, open_regular, read_regular
from fewshot_landmarks.support.markup import unquoted
from fewshot_landmarks.support.outputs import add_overwrite, claim

MOST = 2**29  # bytes of a file when it is unpacked; the largest that is known has 65 MB
Maps = Mapping[str, Mapping[str, np.ndarray]]  # the arrays of each place


# ------------------------------------------------------------------------------- the files


def read_episodes(directory: str | Path) -> pd.DataFrame:
    """The records of a results directory, one row an evaluated episode, sorted by its key."""
    path, key = _existing(directory, EPISODES.name), list(EPISODES.key)
    frame = read_table(directory, EPISODES)
    if unknown := sorted(set(frame["benchmark"]) - set(titles(read_run(directory)))):
        raise UserError(f"{path} has benchmarks that no table shows: {', '.join(unknown)}")
    return frame.sort_values(key, ignore_index=True)


def read_run(directory: str | Path) -> dict:
    """What made the records: `run.json`, of which only "preset" must be there."""
    path = _existing(directory, RUN)
    try:
        run = json.loads(read_regular(path, SMALL))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read, {_again(EPISODES.by)}: {error}") from error
    if not isinstance(run, dict) or "preset" not in run:
        raise UserError(f'{path} does not name the "preset" of the run')
    return run


def read_heatmaps(directory: str | Path) -> Maps:
    """What `probes.heatmaps` measured."""
    path, maps = Path(directory, HEATMAPS), {}
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


def read_optional(directory: str | Path, schema: Schema) -> pd.DataFrame | None:
    """A table that another command leaves in a results directory; None where it is not there."""
    return read_table(directory, schema) if Path(directory, schema.name).is_file() else None


def read_table(directory: str | Path, schema: Schema) -> pd.DataFrame:
    """A table of a results directory, its columns of the types of its schema.

    Only numbers that are no integers have missing values: a learner may be called "NA".
    """
    path, columns = Path(directory, schema.name), schema.columns
    numbers = [name for name, kind in columns.items() if kind is float]
    missing = {name: ["", "nan", "NaN"] for name in numbers}
    try:
        with open_regular(path) as file:
            options = {"dtype": columns, "keep_default_na": False, "na_values": missing}
            content = (gzip.open(file) if path.suffix == ".gz" else file).read(MOST + 1)
        _check_room(len(content))
        frame = pd.read_csv(io.BytesIO(content), **options)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error, schema.by) from error
    if absent := [name for name in columns if name not in frame]:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}: {_again(schema.by)}")
    texts = [name for name, kind in columns.items() if kind is str]
    frame = frame.assign(**{name: unquoted(frame[name]) for name in texts})
    if schema.key and (twice := frame.duplicated(list(schema.key))).any():
        row = ", ".join(map(str, frame.loc[twice, list(schema.key)].iloc[0]))
        raise UserError(f"{path} has more than one row for {row}")
    return frame


def calibration_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration errors by (benchmark, learner), a column for `UNSEEN` and `LABELLED`.

    frame: that of `CALIBRATION`. NaN without any landmark.
    """
    groups = frame.groupby(["benchmark", "learner", "landmarks"], sort=False)
    errors = {
        key: binned_error(Bins(*(own[name].to_numpy() for name in Bins._fields)))
        for key, own in groups
    }
    index = pd.MultiIndex.from_tuples(errors, names=["benchmark", "learner", "landmarks"])
    return pd.Series(list(errors.values()), index, dtype=float).unstack().round(3)


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


def _unreadable(path: Path, error: Exception, by: str = EPISODES.by) -> UserError:
    why = " ".join(str(error).split())
    return UserError(f"{path} cannot be read, {_again(by)}: {why}")


def _again(module: str) -> str:
    return f"run python -m {module} again"


# -------------------------------------------------------------------- what a run says of itself


def titles(run: Mapping) -> dict[str, str]:
    """The benchmarks of a run and their titles: the paper's, or those of another data set."""
    own = run_field(run, "benchmarks", default={})
    if set(own) <= set(BENCHMARKS):
        return {name: benchmark.title for name, benchmark in BENCHMARKS.items()}
    return {name: str(run_field(own, name, "title", default="")) for name in own}


def data_said(run: dict) -> str:
    """What data a run is of, as captions say it, and its preset."""
    fingerprint = str(run_field(run, "data", "fingerprint", default="unknown"))[:12]
    return (
        f"Data: {run_field(run, 'data', 'name', default='unknown')}, difficulty "
        f"{run_field(run, 'data', 'difficulty', default='unknown')}, fingerprint {fingerprint}; "
        f"preset {run['preset']}"
    )


def run_field(run: Any, *path: str, default=None):
    """A nested field of the run, or the default where any part of the path is absent."""
    for key in path:
        run = run.get(key) if isinstance(run, dict) else None
    return default if run is None else run


def asked(run: Mapping) -> list[str]:
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
    name: str,
    act: Callable[[Path], None],
    files: Sequence[str],
    description: str,
    preset: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """The command `benchmarks.NAME`, which reads a results directory and writes `files` there."""
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description)
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
