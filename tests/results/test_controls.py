"""Learners beside controls: Table 5, its claims and average ranks, by hand."""

import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem, ttest_ind, ttest_rel

from benchmarks.claims.build import claims, to_markdown
from benchmarks.claims.statistics import FAILS, HOLDS, NOT_MEASURED, UNDECIDED, paired, paired_few
from benchmarks.figures.ranks import (
    alike,
    average_ranks,
    critical_difference,
    figure_ranks,
    mean_errors,
)
from benchmarks.figures.style import Absent
from benchmarks.report.build import report
from benchmarks.report.sections import per_episode, spread
from benchmarks.results.schemas import COSTS, EPISODES
from benchmarks.tables import build, controls
from benchmarks.tables.controls import table5
from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, UNTRAINED
from tests.results.test_report import Page
from tests.results.test_tables import store

FEW, ALL = 3, 6  # episodes: of controls, of learners
SHOTS = (1, 3, 5, 8, 10)
RUN = {
    "preset": "smoke",
    "plan": {"episodes": ALL, "control_episodes": FEW, "shots": list(SHOTS)},
    "benchmarks": {"B-2": {"seen": ["vest"], "unseen": ["skirt"]}},
}
TWO = {
    **RUN,
    "benchmarks": {name: {"seen": ["vest"], "unseen": ["skirt"]} for name in ("B-1", "B-2")},
}
T2 = 4.302653  # Student's t of a 95% interval, two degrees of freedom
LEVEL = {"PLACE": 0.2, "RIDGE": 0.4, "NEAREST": 0.4, "CLM": 0.1}


def records(error, learners=("FT", "WG"), few=UNTRAINED, seeds=None):
    """Records of B-2; `error` is of (learner, seed, episode, shots)."""
    rows = []
    for learner in (*learners, *few):
        numbers = range(FEW if learner in UNTRAINED else ALL)
        own = (seeds or {}).get(learner, (0,))
        for seed, episode, shots in itertools.product(own, numbers, SHOTS):
            key = ("B-2", learner, seed, "skirt", episode, shots)
            rows.append((*key, error(learner, seed, episode, shots), 48, 0, ""))
    return pd.DataFrame(rows, columns=list(EPISODES.columns))


def level(learner, _seed, episode, _shots):
    """WG is .05 below the mean position where controls were, but far above it elsewhere."""
    own = {"FT": 0.25, "WG": 0.15 if episode < FEW else 0.9}
    return LEVEL.get(learner, own.get(learner, 0.3)) + 0.01 * episode


def line(table, learner):
    (row,) = table[table["learner"] == learner].to_dict("records")
    return row


# ------------------------------------------------------------------------------- the table


def test_all_numbers_are_of_the_episodes_that_controls_met():
    table = table5(records(level), RUN)
    assert list(table["learner"]) == ["PLACE", "RIDGE", "NEAREST", "CLM", "FT", "WG"]
    assert set(table["episodes"]) == {FEW}
    row = line(table, "WG")
    assert row["ne"] == pytest.approx(0.15 + 0.01)
    assert row["ci95"] == pytest.approx(T2 * sem([0.0, 0.01, 0.02]))
    assert row["less_position"] == pytest.approx(-0.05)
    assert row["less_untrained"] == pytest.approx(0.05)
    assert line(table, "CLM")["less_position"] == pytest.approx(-0.1)
    assert math.isnan(line(table, "CLM")["less_untrained"])
    assert math.isnan(line(table, "PLACE")["less_position"])


def test_a_difference_is_paired_and_averaged_over_seeds_and_shots():
    sway = {0: 0.03, 1: -0.01, 2: 0.04}

    def error(learner, seed, episode, shots):
        if learner != "FT":
            return level(learner, seed, episode, shots)
        return 0.2 + 0.01 * episode + sway.get(episode, 0) + 0.1 * seed + 0.001 * (shots - 5.4)

    row = line(table5(records(error, seeds={"FT": (0, 1)}), RUN), "FT")
    pairs = [0.05 + each for each in sway.values()]
    assert row["less_position"] == pytest.approx(np.mean(pairs))
    assert row["less_position_ci95"] == pytest.approx(T2 * sem(pairs))


def test_intervals_of_few_episodes_are_students():
    skirt, vest = [0.01, 0.05], [0.3, -0.2, 0.1]
    index = [("skirt", 0), ("skirt", 1), ("vest", 0), ("vest", 1), ("vest", 2)]
    index = pd.MultiIndex.from_tuples(index, names=["category", "episode"])
    first = pd.Series([*skirt, *vest], index)
    second = pd.Series([0.02, 0.01, 0.1, 0.04, 0.0], index)
    # Of one category it is the t-test's of pairs. Of two, their differences' sum a + b is a - (-b),
    # which Welch's test compares; with equal numbers of episodes the mean is half of the sum.
    alone = paired_few(first[["vest"]], second[["vest"]])
    low, high = ttest_rel(vest, second["vest"]).confidence_interval()
    assert (alone.difference, alone.ci95) == pytest.approx(((low + high) / 2, (high - low) / 2))
    both = [first.drop(("vest", 2)), second.drop(("vest", 2))]
    change = both[0] - both[1]
    test = ttest_ind(change["skirt"], -change["vest"], equal_var=False)
    low, high = test.confidence_interval()
    found = paired_few(*both)
    assert (found.difference, found.ci95) == pytest.approx(((low + high) / 4, (high - low) / 4))
    assert found.ci95 > 2 * paired(*both).ci95
    assert paired_few(first, first).ci95 == 0
    assert math.isnan(paired_few(first[:3], second[:3]).ci95)  # one episode of vests


def test_many_episodes_have_the_intervals_of_other_claims():
    random = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(7), range(100)], names=["category", "episode"])
    sides = [pd.Series(random.random(700), index) for _ in range(2)]
    assert paired_few(*sides).ci95 == pytest.approx(paired(*sides).ci95, rel=0.003)


def test_without_controls_there_is_no_table(tmp_path):
    bare = records(level, few=())
    assert table5(bare, RUN).empty
    directory = store(tmp_path / "r", bare, RUN)
    build.write_tables(directory)
    assert (directory / "table2.md").exists() and not [*directory.glob("table5.*")]
    run = {**RUN, "benchmarks": {**RUN["benchmarks"], "B-1": {"seen": [], "unseen": ["skirt"]}}}
    both = pd.concat([records(level), bare.assign(benchmark="B-1")])
    assert set(table5(both, run)["benchmark"]) == {"B-2"}


def test_a_users_learner_is_in_it_and_ablations_are_not_and_controls_are_in_no_other():
    episodes = records(level, ("Own", "FT", "Base-FEN"))
    assert list(table5(episodes, RUN)["learner"])[4:] == ["FT", "Own"]
    for make in (build.table2, build.table3, build.table4):
        for block in make(episodes, RUN).blocks:
            assert not set(UNTRAINED) & set(block.rows)


def test_what_is_not_whole_is_a_dash():
    episodes = records(level)
    lost = (episodes["episode"] == 1) & (episodes["shots"] == 5)
    table = table5(episodes[~(lost & (episodes["learner"] == "PLACE"))], RUN)
    assert line(table, "PLACE")["episodes"] == 0 and math.isnan(line(table, "FT")["less_position"])
    assert line(table, "FT")["less_untrained"] == pytest.approx(0.15)
    assert "PLACE" not in controls.to_csv(table, RUN)
    assert "| PLACE, mean position" in controls.to_markdown(table, RUN)
    episodes.loc[lost & (episodes["learner"] == "FT"), "ne"] = math.nan  # it gave no answer
    assert line(table5(episodes, RUN), "FT")["episodes"] == 0
    episodes.loc[lost, ["ne", "scored"]] = [math.nan, 0]  # there was nothing to score
    assert set(table5(episodes, RUN)["episodes"]) == {FEW - 1}


def test_the_three_forms(tmp_path):
    table = table5(records(level, ("FT", "WG", "a_b")), RUN)
    read = pd.read_csv(io.StringIO(controls.to_csv(table, RUN)))
    assert list(read) == list(table)
    assert line(read, "WG")["less_position"] == pytest.approx(-0.05)
    page = controls.to_markdown(table, RUN)
    (row,) = [text for text in page.splitlines() if text.startswith("| WG ")]
    assert "**-0.050 ± 0.000**" in row and " +0.050 ± 0.000 " in row
    tex = controls.to_tex(table, RUN)
    assert r"{\boldmath $-0.050${\tiny$\pm$0.000}}" in tex and r"a\_b & $" in tex
    assert tex.count("{") == tex.count("}")
    directory = store(tmp_path / "r", records(level), RUN)
    build.write_tables(directory)
    assert {path.name for path in directory.glob("table5.*")} == set(controls.FILES)


# ------------------------------------------------------------------------------ the claims


def judged(episodes):
    frame = claims(episodes, RUN, None)
    return frame[frame["group"] == "controls"]


def test_each_of_the_nine_is_judged_on_the_episodes_that_both_met():
    frame = judged(records(level, LEARNERS))
    assert len(frame) == 2 * len(LEARNERS)  # B-2 alone has controls
    position = frame[frame["claim"].str.contains("mean position")].set_index("claim")
    untrained = frame[~frame["claim"].str.contains("mean position")]
    row = position.loc["WG is better than the mean position"]
    assert (row["difference"], row["verdict"]) == (pytest.approx(-0.05), HOLDS)
    assert row["episodes"] == FEW and row["where"] == "B-2, mean"
    assert position.loc["FT is better than the mean position", "verdict"] == FAILS
    assert set(untrained["verdict"]) == {FAILS}


def test_three_episodes_that_seem_to_differ_are_undecided():
    sway = (-0.02, -0.05, -0.11)  # less than PLACE by 2.26 standard errors

    def error(learner, _seed, episode, _shots):
        return LEVEL.get(learner, 0.2 + sway[episode % FEW])

    frame = judged(records(error)).set_index("claim")
    row = frame.loc["FT is better than the mean position"]
    assert row["ci95"] == pytest.approx(T2 * sem(sway)) and row["verdict"] == UNDECIDED


def test_without_controls_there_are_no_such_claims():
    frame = claims(records(level, few=()), RUN, None)
    assert "controls" not in set(frame["group"]) and "## Controls" not in to_markdown(frame)
    only = judged(records(level, few=("PLACE",)))
    assert len(only) == len(LEARNERS) and set(only["verdict"]) == {FAILS, HOLDS, NOT_MEASURED}


def test_each_training_seed_is_compared_with_the_same_controls():
    seeds = {"FT": (0, 1), "WG": (0, 1)}

    def error(learner, seed, *key):
        return {"FT": (0.1, 0.25), "WG": (0.15, 0.16)}.get(learner, (LEVEL.get(learner),))[seed]

    frame = judged(records(error, seeds=seeds)).set_index("claim")
    row = frame.loc["FT is better than the mean position"]
    assert row["by_seed"] == "-0.10000 0.05000" and row["verdict"] == UNDECIDED
    row = frame.loc["WG is better than the mean position"]
    assert row["by_seed"] == "-0.05000 -0.04000" and row["verdict"] == HOLDS


# ------------------------------------------------------------------------------- the ranks


def test_ranks_and_their_critical_difference_by_hand():
    errors = pd.DataFrame({"a": [0.1, 0.3, 0.1], "b": [0.2, 0.2, 0.1], "c": [0.3, 0.1, 0.3]})
    assert average_ranks(errors).to_dict() == pytest.approx(
        {"a": (1 + 3 + 1.5) / 3, "b": (2 + 2 + 1.5) / 3, "c": (3 + 1 + 3) / 3}
    )
    # Demsar, 2006, section 3.2.2: q of four is 2.569, and of 14 data sets the difference is 1.25.
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(20 / 84), abs=1e-3)
    assert critical_difference(10, 1) == pytest.approx(3.164 * math.sqrt(110 / 6), abs=5e-3)


def test_bars_are_the_longest_stretches_within_a_critical_difference():
    assert alike([1, 1.5, 3, 3.2, 6], 2) == [(0, 1), (1, 3)]
    assert alike([1, 2, 3], 9) == [(0, 2)] and alike([1, 2, 3], 0.5) == []


def on_two(frame):
    """The same records on two benchmarks."""
    return pd.concat([frame.assign(benchmark=name) for name in TWO["benchmarks"]])


def shown(figure):
    return {text.get_text() for ax in figure.axes for text in ax.texts}


def test_everybody_with_every_cell_is_ranked_on_the_same_episodes():
    episodes = records(level, ("FT", "WG", "Own", "Base-FEN"))
    episodes = on_two(episodes)
    errors = mean_errors(episodes, TWO)
    assert set(errors) == {"FT", "WG", "Own", *UNTRAINED} and list(errors.index) == ["B-1", "B-2"]
    assert errors["WG"].to_numpy() == pytest.approx(0.16)
    figure = figure_ranks(episodes, TWO)
    assert f"{FEW} of {ALL} episodes" in figure.get_suptitle()
    texts = shown(figure)
    assert {"CLM  1.00", "WG  2.00", "PLACE  3.00", "5.00  Own"} <= texts
    assert not any("Base-FEN" in text for text in texts)
    lost = (episodes["learner"] == "Own") & (episodes["shots"] == 5) & (episodes["episode"] == 0)
    figure = figure_ranks(episodes[~lost], TWO)
    assert "Own" in figure.get_suptitle() and not any("Own" in text for text in shown(figure))


def test_where_friedmans_test_finds_nothing_one_bar_spans_all():
    one = records(lambda *_: 0.0, ("FT", "WG", "MRN"), few=())
    errors = {"B-1": {"FT": 0.1, "WG": 0.2, "MRN": 0.3}, "B-2": {"FT": 0.3, "WG": 0.1, "MRN": 0.2}}
    both = [one.assign(benchmark=b, ne=one["learner"].map(own)) for b, own in errors.items()]
    figure = figure_ranks(pd.concat(both), TWO)
    assert "none is told from another" in figure.get_suptitle()
    (bar,) = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.5]
    assert np.ptp(bar.get_xdata()) > 0.2


def test_numbers_of_shots_are_one_data_set():
    def error(learner, _seed, _episode, shots):  # FT is ahead at four numbers, WG at the mean
        return {"FT": 0.2, "WG": 0.1 if shots == 10 else 0.21, "MRN": 0.3}[learner]

    figure = figure_ranks(on_two(records(error, ("FT", "WG", "MRN"), few=())), TWO)
    assert {"WG  1.00", "FT  2.00", "3.00  MRN"} <= shown(figure)
    # Two benchmarks, three learners: Friedman's statistic is 4, its chance exp(-2).
    assert f"p = {math.exp(-2):.3f}" in figure.get_suptitle()


def test_two_learners_or_one_benchmark_have_no_ranks():
    whole = on_two(records(level))
    lost = whole[(whole["episode"] > 0) | (whole["shots"] > 3)]
    for episodes in (on_two(records(level, few=())), records(level), lost):
        with pytest.raises(Absent, match="three learners"):
            figure_ranks(episodes, TWO)


# ------------------------------------------------------------------------------ the report


def test_the_page_shows_controls_where_they_were_run(tmp_path):
    twice = {name: (0, 1) for name in (*UNTRAINED, "FT")}
    episodes = records(level, (*LEARNERS, *ABLATIONS), seeds=twice)
    directory = store(tmp_path / "r", episodes, RUN)
    text = report(directory)
    page = Page(text)
    assert "controls" in page.ids and "9 learners" in text
    assert ["WG", "0.160 ± 0.025", "−0.050 ± 0.000 ✓", "+0.050 ± 0.000"] in page.rows
    assert [row[0] for row in spread(episodes)["table"].rows] == ["FT, B-2"]
    bare = store(tmp_path / "bare", records(level, few=()), RUN)
    assert "controls" not in Page(report(bare)).ids


def test_data_with_one_benchmark_have_no_ranks_and_none_are_missing(tmp_path):
    said = []
    for names in (("J-1",), ("J-1", "J-2")):
        run = {**RUN, "benchmarks": {n: {"seen": ["hand"], "unseen": ["skirt"]} for n in names}}
        episodes = pd.concat([records(level).assign(benchmark=name) for name in names])
        said.append("figure_ranks" in report(store(tmp_path / names[-1], episodes, run)))
    assert said == [False, True]


def test_a_controls_episode_costs_once_what_all_benchmarks_share():
    both = pd.concat([records(level), records(level).assign(benchmark="B-1")])
    costs = pd.DataFrame([("evaluate", "B-1", "CLM", 0, 30.0, 9.0)], columns=list(COSTS.columns))
    assert per_episode(costs, both) == {"CLM": pytest.approx(1000 * 30 / (FEW * len(SHOTS)))}
