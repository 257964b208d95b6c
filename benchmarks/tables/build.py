"""The paper's Tables 2, 3 and 4, and Table 5 of controls, from stored per-episode errors: no torch.

    python -m benchmarks.tables --results results/mini

reads `episodes.csv.gz` and `run.json` there and writes each table as .tex, .csv and .md beside
them: a pure function of the two files, so the same records give the same bytes. Table 5, which
`benchmarks.tables.controls` makes, is left out where no control was run.

What a cell says:
- NE, the mean over its episodes, and 1.96 standard errors over them. Where learners were trained
  from several seeds, an episode's error is first averaged over the seeds: the interval is over
  episodes, not over trainings.
- "Mean" averages an episode's errors over the shots first; its interval is that of these means.
- A cell that lacks any episode or category, or a seed that its learner has elsewhere in the
  benchmark, is a dash and a note, never a mean over what happens to be there. Learners may have
  different numbers of training seeds.
- An episode with nothing to score (`scored` = 0) is left out and counted in a note; the Mean
  leaves it out at every number of shots. An error that is not finite although there was
  something to score is the learner's failure: leaving it out would flatter, so it is a dash.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.paper.facts import (
    EPISODES,
    MEAN,
    METACLOTH,
    SCENARIOS,
    TABLE3_SHOTS,
    TABLE4_SHOTS,
    ablated,
    are_the_papers,
)
from benchmarks.paper.numbers import read_paper
from benchmarks.results.episodes import episodes_needed, unseen_categories
from benchmarks.results.reading import (
    data_said,
    option,
    read_episodes,
    read_run,
    remembered,
    results_command,
    run_command,
    run_field,
    titles,
)
from benchmarks.tables import controls
from benchmarks.tables.formats import Block, Cell, Rows, Table, to_csv, to_markdown, to_tex
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import (
    ABLATIONS,
    BENCHMARKS,
    BEYOND,
    LEARNERS,
    REGISTRY,
    SHOTS,
    UNTRAINED,
)
from fewshot_landmarks.support.files import write_text

TITLES = {
    2: "Few-shot landmark detection on {}",
    3: f"Few-shot landmark detection of each unseen category, {TABLE3_SHOTS} shots",
    4: "What is tuned on a new task: the ablation on {}",
}


# ----------------------------------------------------------------------------- measuring


def table2(episodes: pd.DataFrame, run: dict) -> Table:
    """Table 2: every learner on the four benchmarks, by shots."""
    return _table(2, episodes, run, tuple(titles(run)), _compared(episodes), SHOTS)


def table3(episodes: pd.DataFrame, run: dict) -> Table:
    """Table 3: every learner on each unseen category of B-1 to B-3, 8 shots."""
    benchmarks = [name for name in titles(run) if name in SCENARIOS or name not in BENCHMARKS]
    return _table(3, episodes, run, benchmarks, _compared(episodes), (TABLE3_SHOTS,))


def table4(episodes: pd.DataFrame, run: dict) -> Table:
    """Table 4: the four ablations and MetaCloth on one benchmark (B-2), from 3 shots on."""
    models = (*ABLATIONS, METACLOTH)
    return _table(4, episodes, run, (ablated(titles(run)),), models, TABLE4_SHOTS)


def _compared(episodes: pd.DataFrame) -> tuple[str, ...]:
    """The paper's nine learners, then any other that is no ablation and no control, by name."""
    others = set(episodes["learner"]) - {*LEARNERS, *ABLATIONS, *UNTRAINED}
    return (*LEARNERS, *sorted(others))


def _table(
    number: int,
    episodes: pd.DataFrame,
    run: dict,
    benchmarks: Sequence[str],
    learners: Sequence[str],
    shots: Sequence[int],
) -> Table:
    rows = episodes[
        episodes["learner"].isin(learners)
        & episodes["benchmark"].isin(benchmarks)
        & episodes["shots"].isin(shots)
    ]
    blocks = []
    for benchmark in benchmarks:
        here = rows[rows["benchmark"] == benchmark]
        categories = unseen_categories(run, benchmark, here)
        needed_each = episodes_needed(run, here)
        columns = (
            {name: ((name,), TABLE3_SHOTS) for name in categories}
            if number == 3
            else {str(shot): (categories, shot) for shot in shots}
        )
        measured = {}
        for learner in learners:
            own = here[here["learner"] == learner]
            seeds = _seeds(own) or _seeds(here)[:1] or [run_field(run, "seed", default=0)]
            needed = {(seed, name): needed_each for seed in seeds for name in categories}
            measured[learner] = _cells(run, own, needed, columns, number != 3)
        names = tuple(columns) if number == 3 else (*columns, MEAN)
        paper = _paper(number, benchmark, names)
        blocks.append(Block(benchmark, titles(run)[benchmark], names, measured, paper))
    caption = _caption(number, rows, run, blocks)
    return Table(number, caption, _differs(run), tuple(blocks))


def _seeds(rows: pd.DataFrame) -> list[int]:
    return sorted(map(int, rows["seed"].unique()))


def _cells(
    run: dict,
    rows: pd.DataFrame,
    needed: dict[tuple[int, str], int],
    columns: Mapping[str, tuple[Sequence[str], int]],
    with_mean: bool,
) -> tuple[Cell, ...]:
    """One learner's cells of a benchmark; a column stands for some categories and shots."""
    errors, cells, planned = {}, [], run_field(run, "plan", "shots", default=SHOTS)
    for column, (categories, shots) in columns.items():
        whole = {key: n for key, n in needed.items() if key[1] in categories}
        part = rows
        if len(rows):  # most learners of a small run have none
            part = rows[rows["category"].isin(categories) & (rows["shots"] == shots)]
        if len(part):
            errors[column] = part.groupby(["category", "episode"])["ne"].mean()
            cells.append(_cell(errors[column], part, whole))
        elif shots in planned:
            seeds = {seed for seed, _ in whole}
            cells.append(Cell(note="no episodes", lacking=tuple(sorted(seeds))))
        else:
            cells.append(Cell(note="not in the run's plan"))
    if with_mean:
        whole = all(cell.episodes for cell in cells)
        means = pd.DataFrame(errors).mean(axis=1, skipna=False) if whole else None
        cells.append(_mean_cell(means) if whole else Cell())
    return tuple(cells)


def _cell(errors: pd.Series, rows: pd.DataFrame, whole: dict[tuple[int, str], int]) -> Cell:
    """The cell of some rows, which must hold `whole` episodes by (seed, category)."""
    found = rows.groupby(["seed", "category"]).size().to_dict()
    if found != whole:
        seeds = {seed for (seed, name), n in whole.items() if found.get((seed, name)) != n}
        note = f"{len(rows)} of {sum(whole.values())} episodes"
        return Cell(note=note, lacking=tuple(sorted(seeds)))
    if failed := int(((rows["scored"] > 0) & ~np.isfinite(rows["ne"])).sum()):
        return Cell(note=f"{failed} of {len(rows)} episodes without a finite error")
    return _mean_cell(errors)


def _mean_cell(errors: pd.Series) -> Cell:
    """The mean over the episodes that could be scored, with a note where some could not."""
    scored = errors.dropna()
    left_out = len(errors) - len(scored)
    note = f"{left_out} of {len(errors)} episodes with nothing to score left out"
    return Cell(*mean_interval(scored), len(scored), note if left_out else "")


def _paper(number: int, benchmark: str, columns: Sequence[str]) -> Rows:
    """The paper's own cells of a block, by learner; a dash where it has no such column."""
    numbers = read_paper(number)
    numbers = numbers[numbers["benchmark"] == benchmark]
    cells = {
        (learner, column): Cell(ne, ci95, EPISODES)
        for _, learner, column, ne, ci95 in numbers.itertuples(index=False)
    }
    return {
        learner: tuple(cells.get((learner, column), Cell()) for column in columns)
        for learner in numbers["learner"].unique()
    }


def _caption(number: int, rows: pd.DataFrame, run: dict, blocks: Sequence[Block]) -> str:
    counts = {c.episodes for b in blocks for cells in b.rows.values() for c in cells if c.episodes}
    episodes = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "no"
    draw = run_field(run, "benchmarks", "B-4", "seen")
    beyond = [name for name in BEYOND if name in set(rows["learner"])]
    sentences = [
        f"{TITLES[number].format(_places(number, blocks))}: normalised error (NE), lower is "
        "better, the best of a column in bold",
        f"± is the 95% interval over episodes (1.96 standard errors), {episodes} episodes a value",
        f"B-4's draw of seen categories: {', '.join(draw)}" if draw and number == 2 else "",
        f"Beyond the paper: {', '.join(beyond)}" if beyond else "",
        f"{data_said(run)}; training seeds {seeds_said(rows)}; "
        f"version {run_field(run, 'version', default='unknown')}",
        "A dash: not measured, or not in full",
    ]
    return ". ".join(filter(None, sentences)) + "."


def seeds_said(rows: pd.DataFrame) -> str:
    """The training seeds of some records: for each benchmark, or each cell, if they differ."""
    seeds = rows.groupby(["benchmark", "learner"])["seed"].unique()
    said = seeds.map(lambda own: " and ".join(map(str, sorted(own))))
    if said.nunique() < 2:
        return "".join(said.unique()) or "none"
    if (said.groupby("benchmark").nunique() == 1).all():
        named = {name: own.iloc[0] for name, own in said.groupby("benchmark")}
    else:
        named = {f"{learner} on {name}": own for (name, learner), own in said.items()}
    usual, *others = Counter(named.values()).most_common()
    cells = {one: [name for name, own in named.items() if own == one] for one, _ in others}
    return f"{usual[0]}, but " + "; ".join(f"{k} for {', '.join(v)}" for k, v in cells.items())


def _places(number: int, blocks: Sequence[Block]) -> str:
    names = [block.benchmark for block in blocks]
    return "four benchmarks" if number == 2 and are_the_papers(names) else ", ".join(names)


def _differs(run: dict) -> str:
    data = run_field(run, "data", "name", default="unknown")
    episodes = run_field(run, "plan", "episodes", default="an unknown number of")
    clauses = [
        f"the data are {data}, not the photographs of DeepFashion2" * (data != "DeepFashion2"),
        f"the network and its training are those of preset {run['preset']}, smaller than the "
        "paper's" * (run["preset"] != "paper"),
        f"{episodes} episodes a category, not {EPISODES}" * (episodes != EPISODES),
    ]
    return "; ".join(filter(None, clauses))


# ------------------------------------------------------------------------------- writing

RENDERERS = {"tex": to_tex, "csv": to_csv, "md": to_markdown}
OF_THE_PAPER = tuple(f"table{number}.{ending}" for number in (2, 3, 4) for ending in RENDERERS)
FILES = (*OF_THE_PAPER, *controls.FILES)


def write_tables(directory: str | Path) -> list[str]:
    """Writes the tables into a results directory; returns what is missing and how to run it."""
    episodes, run = read_episodes(directory), read_run(directory)
    tables = [make(episodes, run) for make in (table2, table3, table4)]
    rendered = [render(table) for table in tables for render in RENDERERS.values()]
    files = dict(zip(OF_THE_PAPER, rendered, strict=True))
    if len(beside := controls.table5(episodes, run)):
        rendered = [render(beside, run) for render in controls.RENDERERS.values()]
        files |= zip(controls.FILES, rendered, strict=True)
    for name, text in files.items():
        write_text(Path(directory, name), text)
    return _notes(directory, tables, run)


def _notes(directory: str | Path, tables: Sequence[Table], run: dict) -> list[str]:
    """Each table's notes, then the few commands that fill dashes."""
    notes = [f"Table {table.number}: {note}" for table in tables for note in table.notes()]
    runs = dict.fromkeys(lacking for table in tables for lacking in table.lacking())
    learners_of: dict[tuple[str, int], list[str]] = {}
    for benchmark, learner, seed in runs:
        learners_of.setdefault((benchmark, seed), []).append(learner)
    alike: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for (benchmark, seed), learners in learners_of.items():
        every = {*LEARNERS, *ABLATIONS * (benchmark == ablated(titles(run)))}
        if every <= set(learners) <= every | {*BEYOND}:  # a run has all that it needn't name
            learners = []
        alike.setdefault((tuple(learners), seed), []).append(benchmark)
    return notes + [_command(directory, run, b, *lacking) for lacking, b in alike.items()]


def _command(
    directory: str | Path,
    run: dict,
    benchmarks: Sequence[str],
    learners: Sequence[str],
    seed: int,
) -> str:
    words, places = ["--preset", str(run["preset"])], remembered(directory).get("learners", {})
    if not learners and len(benchmarks) == len(titles(run)):
        words += ["--all"]
    else:
        words += [word for name in benchmarks for word in option("--benchmark", name)]
    for name in learners:
        ours = name in REGISTRY
        # Where a user's learner is that is not known any more stands in capitals.
        words += option("--learner", name if ours else places.get(name, f"MODULE:{name}"))
    return run_command(directory, run, [*words, *["--seed", str(seed)] * (seed != 0)])


def _show(directory: Path) -> None:
    notes = write_tables(directory)
    print(Path(directory, "table2.md").read_text("utf-8"))
    print(f"The tables are in {directory}.", *notes, sep="\n")


main = partial(
    results_command, "tables", _show, FILES, "The tables from stored per-episode errors.", "mini"
)
"""The command, which prints Table 2 and what is missing."""
