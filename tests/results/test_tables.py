"""Tables from records: numbers by hand, a golden .tex, and every way of not being whole."""

import io
import itertools
import json
import math
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from benchmarks.commands.work import given
from benchmarks.engine.store import remember
from benchmarks.results.reading import read_episodes, run_command
from benchmarks.results.schemas import EPISODES
from benchmarks.run import main as run_benchmark
from benchmarks.tables import build as tables
from benchmarks.tables.build import (
    seeds_said,
    table2,
    table3,
    table4,
    write_tables,
)
from benchmarks.tables.formats import to_csv, to_markdown, to_tex
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, BEYOND, LEARNERS
from fewshot_landmarks.support.errors import UserError

GOLDEN = Path(__file__).parents[1] / "fixtures" / "table4.tex"
PAPER = Path(__file__).parents[2] / "benchmarks" / "paper"
RUN = {
    "preset": "smoke",
    "seed": 0,
    "version": "1.2",
    "data": {"name": "garments", "difficulty": "plain", "fingerprint": "0123456789abcdef"},
    "plan": {"episodes": 2, "shots": [1, 3, 5, 8, 10], "queries": 24},
}
ENDINGS = ("tex", "csv", "md")


def records(cells, error=lambda *key: 0.1, episodes=2, seeds=(0,), shots=(1, 3, 5, 8, 10)):
    """Records of (benchmark, learner, categories); `error` is of the key after the benchmark."""
    rows = [
        (benchmark, *key, error(*key), 48, 0, "0.1 nan")
        for benchmark, learner, categories in cells
        for key in itertools.product([learner], seeds, categories, range(episodes), shots)
    ]
    return pd.DataFrame(rows, columns=list(EPISODES.columns))


def skirts(error, learners=("FT",), **options):
    """Records of B-2 with one unseen category, and the run that planned them."""
    run = RUN | {"benchmarks": {"B-2": {"seen": ["vest"], "unseen": ["skirt"]}}}
    run["plan"] = RUN["plan"] | {"episodes": options.get("episodes", 2)}
    return records([("B-2", learner, ["skirt"]) for learner in learners], error, **options), run


def cells_of(table, learner, benchmark="B-2"):
    (block,) = (block for block in table.blocks if block.benchmark == benchmark)
    return dict(zip(block.columns, block.rows[learner], strict=True))


def commands(directory):
    return [note for note in write_tables(directory) if note.startswith("python ")]


def store(directory, episodes, run=RUN):
    directory.mkdir(exist_ok=True)
    episodes.to_csv(directory / "episodes.csv.gz", index=False)
    (directory / "run.json").write_text(json.dumps(run), "utf-8")
    return directory


@pytest.fixture(scope="module")
def whole():
    """Every record that the three tables need, of random errors."""
    unseen = {b.name: [category(i).name for i in b.unseen] for b in BENCHMARKS.values()}
    cells = [(b, learner, unseen[b]) for b in unseen for learner in LEARNERS]
    cells += [("B-2", model, unseen["B-2"]) for model in ABLATIONS]
    random = np.random.default_rng(0)
    return records(cells, lambda *key: random.uniform(0.05, 0.3))


# ------------------------------------------------------------------------------ numbers


def test_interval_by_hand_and_against_scipy():
    # Deviations -1.5, -0.5, 0.5, 1.5: variance 5 / 3, standard error sqrt(5 / 12).
    assert mean_interval([1, 2, 3, 4]) == pytest.approx((2.5, 1.96 * math.sqrt(5 / 12)))
    values = np.random.default_rng(1).normal(size=50)
    assert mean_interval(values) == pytest.approx((values.mean(), 1.96 * sem(values)))


def test_one_value_has_no_interval_and_none_has_no_mean():
    mean, interval = mean_interval([0.3])
    assert mean == 0.3 and math.isnan(interval)
    assert all(map(math.isnan, mean_interval([])))


def test_a_cell_and_its_paired_mean_by_hand():
    # Episodes trade places between shots: each shot varies, the episodes' means do not.
    order = (1, 3, 5, 8, 10)
    errors = {0: (0.1, 0.2, 0.3, 0.4, 0.5), 1: (0.5, 0.4, 0.3, 0.2, 0.1)}
    episodes, run = skirts(lambda _l, _s, _c, episode, shots: errors[episode][order.index(shots)])
    cells = cells_of(table2(episodes, run), "FT")
    assert (cells["1"].ne, cells["1"].ci95) == pytest.approx((0.3, 1.96 * 0.2))
    assert (cells["mean"].ne, cells["mean"].ci95) == pytest.approx((0.3, 0.0))
    assert cells["mean"].episodes == 2


def test_seeds_are_averaged_before_the_interval():
    episodes, run = skirts(
        lambda _l, seed, _c, episode, _k: 0.1 * episode + 0.2 * seed, seeds=(0, 1)
    )
    cell = cells_of(table2(episodes, run), "FT")["8"]
    assert (cell.ne, cell.ci95, cell.episodes) == (
        pytest.approx(0.15),
        pytest.approx(1.96 * 0.05),
        2,
    )


def test_one_episode_prints_without_an_interval():
    episodes, run = skirts(lambda *key: 0.25, episodes=1)
    table = table2(episodes, run)
    assert r"FT & \textbf{0.250} &" in to_tex(table)
    assert "B-2,FT,8,0.25000,,1\n" in to_csv(table)


def test_table3_is_each_category_at_8_shots():
    error = {"skirt": 0.1, "shorts": 0.3}
    run = RUN | {"benchmarks": {"B-2": {"unseen": ["skirt", "shorts"]}}}
    episodes = records(
        [("B-2", "FT", list(error))], lambda _l, _s, category, _e, k: error[category] + (k != 8)
    )
    cells = cells_of(table3(episodes, run), "FT")
    assert list(cells) == ["skirt", "shorts"]  # the run's order
    assert {c: cell.ne for c, cell in cells.items()} == pytest.approx(error)
    assert {cell.episodes for cell in cells.values()} == {2}


# ------------------------------------------------------------------------------- wholeness


def test_what_is_missing_is_a_dash_a_note_and_a_command(whole, tmp_path):
    row = (whole["benchmark"] == "B-2") & (whole["learner"] == "MRN")
    one = row & (whole["shots"] == 5) & (whole["category"] == "skirt") & (whole["episode"] == 1)
    no_paml = (whole["benchmark"] == "B-3") & (whole["learner"] == "PAML")
    directory = store(tmp_path / "r", whole[~one & ~no_paml])
    command = "python -m benchmarks.run --preset smoke --benchmark"
    assert commands(directory) == [
        f"{command} B-2 --learner MRN --out {directory}",
        f"{command} B-3 --learner PAML --out {directory}",
    ]
    written = pd.read_csv(directory / "table2.csv")
    shots = written[(written["benchmark"] == "B-2") & (written["learner"] == "MRN")]["shots"]
    assert list(shots) == ["1", "3", "8", "10"]  # neither 5 nor the mean over what is left
    assert not len(written[(written["benchmark"] == "B-3") & (written["learner"] == "PAML")])
    assert re.search(
        r"^MRN & .* & -- & .* & .* & -- ", (directory / "table2.tex").read_text(), re.M
    )
    assert len(pd.read_csv(directory / "table3.csv")) == 189 - 7


@pytest.mark.parametrize(
    "lost",
    [
        lambda rows: (rows["seed"] == 1) & (rows["category"] == "skirt"),
        lambda rows: rows["category"] == "skirt",
        lambda rows: (rows["episode"] == 1) & (rows["seed"] == 0),
    ],
    ids=["seed", "category", "episode"],
)
@pytest.mark.parametrize("planned", [True, False])
def test_a_learner_short_of_what_others_have_is_all_dashes(lost, planned):
    cells = [("B-2", learner, ["skirt", "shorts"]) for learner in ("FT", "WG")]
    episodes = records(cells, seeds=(0, 1))
    run = {"preset": "mini", "benchmarks": {"B-2": {"unseen": ["skirt", "shorts"]}}}
    if planned:
        run["plan"] = RUN["plan"]
    table = table2(episodes[~(lost(episodes) & (episodes["learner"] == "WG"))], run)
    assert {cell.episodes for cell in cells_of(table, "FT").values()} == {4}
    assert {cell.episodes for cell in cells_of(table, "WG").values()} == {0}


def test_learners_may_have_different_numbers_of_seeds():
    episodes, run = skirts(lambda _l, seed, *_: 0.1 + 0.2 * seed, ["FT", "WG"], seeds=(0, 1))
    table = table2(episodes[(episodes["learner"] == "FT") | (episodes["seed"] == 0)], run)
    assert cells_of(table, "FT")["1"].ne == pytest.approx(0.2)
    assert cells_of(table, "WG")["1"].ne == pytest.approx(0.1)


def test_fewer_episodes_than_planned_is_not_whole_even_if_all_agree():
    episodes, run = skirts(lambda *key: 0.1)
    run["plan"]["episodes"] = 3
    assert {cell.episodes for cell in cells_of(table2(episodes, run), "FT").values()} == {0}


def test_the_command_names_the_seed_and_not_the_usual_directory(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    episodes, run = skirts(lambda *key: 0.1, ["FT", "Own"], seeds=(0, 3))
    lost = (episodes["learner"] == "Own") & (episodes["seed"] == 3) & (episodes["episode"] == 0)
    store(Path("results", "smoke"), episodes[~lost], run)
    command = (
        "python -m benchmarks.run --preset smoke --benchmark B-2 --learner MODULE:Own --seed 3"
    )
    assert [c for c in commands("results/smoke") if "B-2" in c and "Own" in c] == [command]


def test_the_command_gives_again_what_the_run_was_given(tmp_path):
    numbers = {
        "asked": ["channels=64", "tuned=/a b.json"],
        "network_options": {"weights": "/w.pth"},
    }
    said = run_command(tmp_path, {"preset": "full", "numbers": numbers}, ["--all"])
    assert "--set channels=64 --set 'tuned=/a b.json' --weights /w.pth" in said


def test_the_command_has_every_option_that_the_run_had(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data", "my data.json", "--images", "img", "--seen", "hand, face", "--workers", "1"]
    words += ["--set", "base_batch=8", "--out=-o ut", "--learner", "PROTO", "--strict"]
    asked = run_benchmark.parser().parse_args(words)
    remember(Path("-o ut", "work"), ["PROTO"], 0, given(asked), ["--strict"])
    said = shlex.split(run_command("-o ut", {"preset": "smoke"}, ["--preset", "smoke", "--all"]))
    again = run_benchmark.parser().parse_args(said[3:])
    assert again.data == tmp_path / "my data.json" and again.images == tmp_path / "img"
    same = ("seen", "workers", "set", "out", "strict", "weights", "device")
    assert all(getattr(again, name) == getattr(asked, name) for name in same)


def test_shots_outside_the_plan_ask_for_no_run(tmp_path):
    episodes, run = skirts(lambda *key: 0.1, learners=LEARNERS + ABLATIONS, shots=(1, 8))
    run["plan"]["shots"] = [1, 8]
    cells = cells_of(table2(episodes, run), "FT")
    assert {column for column, cell in cells.items() if cell.episodes} == {"1", "8"}
    assert not [c for c in commands(store(tmp_path / "r", episodes, run)) if "B-2" in c]


def test_an_episode_with_nothing_to_score_is_left_out_and_counted(tmp_path):
    episodes, run = skirts(lambda _l, _s, _c, episode, _k: 0.1 * (1 + episode), episodes=3)
    blank = (episodes["episode"] == 2) & (episodes["shots"] == 1)
    episodes.loc[blank, ["ne", "scored"]] = [math.nan, 0]
    cells = cells_of(table2(episodes, run), "FT")
    assert (cells["1"].ne, cells["1"].episodes) == (pytest.approx(0.15), 2)
    assert (cells["3"].ne, cells["3"].episodes) == (pytest.approx(0.2), 3)
    assert (cells["mean"].ne, cells["mean"].episodes) == (pytest.approx(0.15), 2)
    notes = write_tables(store(tmp_path / "r", episodes, run))
    assert any("1 of 3" in note and "shots 1, mean" in note for note in notes)


def test_a_learner_that_diverged_is_neither_excused_nor_best():
    episodes, run = skirts(lambda learner, *_: {"FT": 0.1, "WG": 0.2}[learner], ["FT", "WG"])
    failed = (episodes["learner"] == "FT") & (episodes["episode"] == 0) & (episodes["shots"] == 1)
    episodes.loc[failed, "ne"] = math.nan
    table = table2(episodes, run)
    cells = cells_of(table, "FT")
    assert not cells["1"].episodes and not cells["mean"].episodes and cells["3"].episodes
    assert ("B-2", "FT", 0) not in table.lacking()  # the same run would end the same
    assert r"WG & \textbf{0.200}" in to_tex(table)


# -------------------------------------------------------------------------------- learners


def test_values_that_print_the_same_are_all_bold():
    error = {"FT": 0.1001, "WG": 0.1004, "MRN": 0.1006}
    episodes, run = skirts(lambda learner, *_: error[learner], error)
    lines = to_markdown(table2(episodes, run)).splitlines()
    bold = {line.split()[1]: "**0.100**" in line for line in lines if "± 0.000" in line}
    assert bold == {"FT": True, "WG": True, "MRN": False}


def test_a_users_learner_stands_after_the_nine_and_ablations_in_table_4_alone():
    learners = (*LEARNERS, *ABLATIONS, "Another", "NA")
    episodes, run = skirts(lambda *key: 0.1, learners)
    for make in (table2, table3):
        assert all(
            tuple(block.rows) == (*LEARNERS, "Another", "NA")
            for block in make(episodes, run).blocks
        )
    assert tuple(table4(episodes, run).blocks[0].rows) == (*ABLATIONS, "MetaCloth")


def test_a_learner_beyond_the_paper_is_said_to_be_beyond_it():
    episodes, run = skirts(lambda *key: 0.1, (*LEARNERS, *BEYOND, "Another"))
    table = table2(episodes, run)
    assert f"Beyond the paper: {', '.join(BEYOND)}." in table.caption
    assert tuple(table.blocks[0].rows)[: len(LEARNERS)] == LEARNERS
    episodes, run = skirts(lambda *key: 0.1, (*LEARNERS, "Another"))
    assert "Beyond" not in table2(episodes, run).caption


def test_a_learner_called_na_is_read_back(tmp_path):
    episodes, run = skirts(lambda *key: 0.1, ["NA"])
    assert set(read_episodes(store(tmp_path / "r", episodes, run))["learner"]) == {"NA"}


# ------------------------------------------------------------------------------- the paper


@pytest.mark.parametrize(("number", "rows"), [(2, 216), (3, 189), (4, 25)])
def test_a_join_with_the_papers_numbers_matches_every_row(whole, number, rows):
    ours = pd.read_csv(io.StringIO(to_csv(getattr(tables, f"table{number}")(whole, RUN))))
    paper = pd.read_csv(PAPER / f"table{number}.csv")
    assert list(ours.columns) == [*paper.columns, "episodes"]
    joined = ours.merge(paper, on=list(paper.columns[:-2]), suffixes=("", "_paper"))
    assert len(joined) == len(ours) == len(paper) == rows


@pytest.mark.parametrize("sign", [1, -1])
def test_rank_correlation_with_the_papers_order(whole, sign):
    paper = pd.read_csv(PAPER / "table2.csv", dtype={"shots": str})
    means = paper[paper["shots"] == "mean"].set_index(["benchmark", "learner"])["ne"]
    compared = whole[~whole["learner"].isin(ABLATIONS)].copy()
    keys = zip(compared["benchmark"], compared["learner"], strict=True)
    compared["ne"] = [1 + sign * means[key] for key in keys]
    for block in table2(compared, RUN).blocks:
        assert block.rank_correlation() == (pytest.approx(sign), 9)


def test_rank_correlation_is_undefined_for_two_learners():
    episodes, run = skirts(lambda learner, *_: {"FT": 0.1, "WG": 0.2}[learner], ["FT", "WG"])
    rho, learners = table2(episodes, run).blocks[1].rank_correlation()
    assert math.isnan(rho) and learners == 2


# ---------------------------------------------------------------------------------- files


def test_golden_tex():
    error = {"Base-FEN": 0.14, "Base-FEN_M": 0.2, "LD-Keep": 0.14, "MetaCloth": 0.12}
    episodes, run = skirts(
        lambda learner, _s, _c, episode, shots: error[learner] + 0.01 * episode + 0.09 / shots,
        error,
    )
    assert to_tex(table4(episodes, run)) == GOLDEN.read_text("utf-8")


def test_the_same_records_in_any_order_give_the_same_bytes(whole, tmp_path):
    one = store(tmp_path / "one", whole)
    two = store(tmp_path / "two", whole.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(read_episodes(one), read_episodes(two))
    for directory in (one, two):
        write_tables(directory)
    names = {f"table{number}.{ending}" for number in (2, 3, 4) for ending in ENDINGS}
    assert {path.name for path in two.iterdir()} == names | {"episodes.csv.gz", "run.json"}
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_preset_alone_and_no_records_are_enough(whole, tmp_path):
    write_tables(store(tmp_path / "whole", whole, {"preset": "mini"}))
    assert len(pd.read_csv(tmp_path / "whole" / "table2.csv")) == 216
    none = store(tmp_path / "none", whole[:0], {"preset": "mini"})
    assert commands(none) == [f"python -m benchmarks.run --preset mini --all --out {none}"]


def test_what_is_missing_alike_is_one_command(whole, tmp_path):
    rows = (whole["benchmark"] == "B-2") & (whole["learner"] == "PROTO")
    alone = store(tmp_path / "one", whole[rows], {"preset": "mini"})
    first, second = commands(alone)
    others = f"--benchmark B-1 --benchmark B-3 --benchmark B-4 --out {alone}"
    assert first == f"python -m benchmarks.run --preset mini {others}"
    assert "--benchmark B-2 --learner FT --learner MAML" in second
    assert "--learner LD-Keep_M" in second and "PROTO " not in second


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles_and_fits_the_page(whole, tmp_path):
    user = whole[whole["learner"] == "FT"].assign(learner=r"a_b&{#%^~\$")
    directory = store(tmp_path / "r", pd.concat([whole, user]))
    write_tables(directory)
    inputs = "".join(rf"\input{{table{number}}}" for number in (2, 3, 4))
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (directory / "all.tex").write_text(head + inputs + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout and "too large" not in done.stdout


# --------------------------------------------------------------------------------- errors


def test_main_prints_table_2_and_where_it_wrote(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    store(tmp_path / "results" / "smoke", *skirts(lambda *key: 0.125))
    monkeypatch.chdir(tmp_path)
    assert tables.main(["--preset", "smoke"]) == 0
    printed = capsys.readouterr().out
    assert "**0.125**" in printed and str(Path("results", "smoke")) in printed
    for number, ending in itertools.product((2, 3, 4), ENDINGS):
        assert Path("results", "smoke", f"table{number}.{ending}").is_file()


def _truncate(directory):
    path = directory / "episodes.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])


BREAKS = {
    "no directory": (shutil.rmtree, "results directory"),
    "no episodes": (lambda d: (d / "episodes.csv.gz").unlink(), "episodes.csv.gz"),
    "not gzip": (lambda d: (d / "episodes.csv.gz").write_text("benchmark\n"), "episodes.csv.gz"),
    "cut short": (_truncate, "episodes.csv.gz"),
    "no run": (lambda d: (d / "run.json").unlink(), "run.json"),
    "broken run": (lambda d: (d / "run.json").write_text("{"), "run.json"),
    "no preset": (lambda d: (d / "run.json").write_text("{}"), "preset"),
}


@pytest.mark.parametrize(("break_", "named"), BREAKS.values(), ids=BREAKS)
def test_a_broken_directory_is_one_line_and_status_2(whole, tmp_path, capsys, break_, named):
    directory = store(tmp_path / "r", whole)
    break_(directory)
    assert tables.main(["--results", str(directory)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and named in line
    assert not list(tmp_path.glob("r/table*"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.drop(columns=["scored", "shots"]), "shots, scored"),
        (lambda rows: rows.assign(ne="fast"), "fast"),
        (lambda rows: rows.assign(benchmark="B-5"), "B-5"),
        (lambda rows: pd.concat([rows, rows[:1]]), "B-1, FT, 0"),
    ],
    ids=["columns", "not a number", "benchmark", "twice"],
)
def test_records_of_another_form_say_what_is_wrong(whole, tmp_path, change, named):
    directory = store(tmp_path / "r", change(whole))
    with pytest.raises(UserError, match=named):
        write_tables(directory)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({}, "none"),
        ({("B-1", "FT"): (1, 0), ("B-2", "WG"): (0, 1)}, "0 and 1"),
        (
            {("B-1", "FT"): (0, 1), ("B-2", "FT"): (0,), ("B-3", "FT"): (0,)},
            "0, but 0 and 1 for B-1",
        ),
        (
            {("B-1", "FT"): (0,), ("B-1", "WG"): (0, 1), ("B-2", "FT"): (0,)},
            "0, but 0 and 1 for WG on B-1",
        ),
    ],
)
def test_seeds_are_said_as_they_are(seeds, said):
    rows = [(*cell, seed) for cell, own in seeds.items() for seed in own]
    assert seeds_said(pd.DataFrame(rows, columns=["benchmark", "learner", "seed"])) == said
