"""The paper's figures 4, 5 and 6 and four of our own from what is stored: no training, no torch.

    python -m benchmarks.figures --results results/full

reads a results directory and writes each figure there as .png and .pdf, a pure function of:

- heatmaps.npz: figure4, heatmaps of the same garment by models of different benchmarks;
- episodes.csv.gz: figure5, errors of each landmark of trousers, figure_shots, errors against
  shots beside the paper's, and figure_ranks, average ranks of learners;
- similarities.csv: figure6, landmark features before and after tuning;
- curves.csv.gz: figure_curves, losses in training;
- calibration.csv: figure_trust, shares of landmarks found against their scores.

Every interval is 1.96 standard errors over episodes, as in the tables: an episode's value is first
averaged over the training seeds. A figure whose file is not there is left out, and a line says so.
Figures 4, 5 and 6 are of the paper's benchmarks: a run on others has none of them. Average ranks
are over benchmarks: a run on data with one alone has no figure_ranks.
"""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.figures.captions import ACROSS, OF_THE_PAPER
from benchmarks.figures.curves import figure_curves, figure_shots, figure_trust
from benchmarks.figures.landmarks import figure4, figure5, figure6
from benchmarks.figures.ranks import figure_ranks
from benchmarks.figures.style import Absent, styled
from benchmarks.paper.facts import are_the_papers
from benchmarks.results.reading import (
    read_episodes,
    read_heatmaps,
    read_run,
    read_table,
    results_command,
    run_command,
    titles,
)
from benchmarks.results.schemas import (
    CALIBRATION,
    CURVES,
    EPISODES,
    HEATMAPS,
    RUN,
    SIMILARITIES,
)
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_bytes

METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
FIGURES: dict[str, tuple] = {  # by name: what draws it, and the files whose content that is given
    "figure4": (figure4, HEATMAPS),
    "figure5": (figure5, EPISODES.name),
    "figure6": (figure6, SIMILARITIES.name),
    "figure_shots": (figure_shots, EPISODES.name, RUN),
    "figure_ranks": (figure_ranks, EPISODES.name, RUN),
    "figure_curves": (figure_curves, CURVES.name),
    "figure_trust": (figure_trust, CALIBRATION.name),
}
READERS = {HEATMAPS: read_heatmaps, EPISODES.name: read_episodes, RUN: read_run} | {
    schema.name: partial(read_table, schema=schema)
    for schema in (SIMILARITIES, CURVES, CALIBRATION)
}
FILES = tuple(f"{name}.{ending}" for name in FIGURES for ending in METADATA)


def write_figures(directory: str | Path) -> list[str]:
    """Writes all figures whose files are there; returns a line for each that is left out.

    Raises `UserError` where there is no such directory, or a file in it cannot be read.
    """
    directory, notes = Path(directory), []
    if not directory.is_dir():
        raise UserError(f"no results directory {directory}: python -m benchmarks.run makes one")
    run = _run(directory)
    places = titles(run)
    without = (() if are_the_papers(places) else OF_THE_PAPER) + ACROSS * (len(places) < 2)
    for name, (make, *files) in FIGURES.items():
        if name in without:
            continue
        try:
            if absent := [file for file in files if not (directory / file).is_file()]:
                raise Absent(f"no {' and no '.join(absent)} in {directory}")
            figure = make(*(READERS[file](directory) for file in files))
        except Absent as error:
            notes.append(f"{name} is left out, {error}: {_command(directory, run, files)} makes it")
            continue
        for ending in METADATA:
            write_bytes(directory / f"{name}.{ending}", render(figure, ending))
    return notes


@styled
def render(figure: Figure, ending: str) -> bytes:
    """A figure as "png" or "pdf", the same bytes each time."""
    content = io.BytesIO()
    figure.savefig(content, format=ending, metadata=METADATA[ending])
    return content.getvalue()


def _run(directory: Path) -> dict:
    """The run of a results directory, or what stands for one that cannot be read."""
    try:
        return read_run(directory)
    except UserError:
        return {"preset": "PRESET"}


def _command(directory: Path, run: dict, files: Sequence[str]) -> str:
    """What makes the files that a figure is drawn of."""
    words = ["--preset", str(run["preset"])]
    if CALIBRATION.name in files:
        return run_command(directory, run, words, "benchmarks.export")
    return run_command(directory, run, ["--all", *words])


def _draw(directory: Path) -> None:
    notes = write_figures(directory)
    print(f"The figures are in {directory}.", *notes, sep="\n")


main = partial(
    results_command, "figures", _draw, FILES, "Figures from what a benchmark run stored.", "full"
)
"""The command, which says what is missing."""
