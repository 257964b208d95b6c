"""Choosing hyperparameters: what is tried, on which categories, and that it resumes."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import tune
from benchmarks.commands.overrides import change
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.stages import tasks_of, train_base
from benchmarks.presets import SMOKE, Preset, find_preset
from benchmarks.results.schemas import TRIALS
from benchmarks.studies import search
from benchmarks.studies.search import (
    Trial,
    choose,
    finalists,
    propose,
    study,
    study_path,
    try_out,
)
from benchmarks.tune import gather, keep, main
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.data.source import Folder
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, LEARNERS, Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text

FT, METACLOTH = find_learner("FT"), find_learner("MetaCloth")


@pytest.mark.parametrize("place", BENCHMARKS.values(), ids=str)
def test_rehearsals_know_seen_categories_only_and_hold_each_out_once(place):
    for rehearsal in place.rehearsals:
        assert sorted(rehearsal.seen + rehearsal.unseen) == list(place.seen)
        assert len(rehearsal.unseen) == 2 and not set(rehearsal.seen) & set(rehearsal.unseen)
        assert benchmark(rehearsal.name) == rehearsal
    assert sorted(c for r in place.rehearsals for c in r.unseen) == list(place.seen)
    assert place.rehearsal == place.rehearsals[0]
    for strange in (f"{place.name}r1", f"{place.name}r4", "r", "r2"):
        with pytest.raises(UserError):
            benchmark(strange)


def test_a_benchmark_whose_name_ends_in_r_is_itself():
    known = {name: Benchmark(name, "", (1, 2, 3), (4,)) for name in ("near", "nea", "far")}
    assert benchmark("near", known) is known["near"]
    assert benchmark("farr", known) == known["far"].rehearsal


def test_rehearsals_hold_out_every_third_seen_category():
    """Worked by hand from the data set's order: a near and a far category where there are any."""
    first = {
        name: [category(c).name for c in place.rehearsal.unseen]
        for name, place in BENCHMARKS.items()
    }
    assert first == {
        "B-1": ["vest", "skirt"],
        "B-2": ["short sleeve outwear", "sling"],
        "B-3": ["shorts", "vest dress"],
        "B-4": ["sling", "sling dress"],
    }
    others = {
        rehearsal.name: [category(c).name for c in rehearsal.unseen]
        for rehearsal in BENCHMARKS["B-1"].rehearsals[1:]
    }
    assert others == {
        "B-1r2": ["short sleeve top", "sling"],
        "B-1r3": ["long sleeve outwear", "shorts"],
    }


def test_every_learner_says_what_may_be_tuned():
    for name in LEARNERS:
        learner = find_learner(name)
        defaults = learner.Settings()
        for setting, (least, greatest) in learner.search_space.items():
            assert least <= getattr(defaults, setting) or setting == "tuning_steps"
            assert 0 < least < greatest
        assert 1 <= len(learner.search_space) <= 3


def trials(*scores):
    found = []
    for number, score in enumerate(scores):
        parameters = propose(FT, DEFAULTS, found, seed=0)
        found.append(Trial(number, parameters, (score,), 1.0))
    return found


DEFAULTS = {"inner_rate": 0.03, "detector_rate": 1.0, "tuning_steps": 8}


def test_proposals_begin_with_the_default_and_stay_in_the_space():
    found = trials(0.3, 0.2, 0.25, 0.22, 0.21, 0.2)
    assert found[0].parameters == {}
    for trial in found[1:]:
        assert set(trial.parameters) == set(FT.search_space)
        for name, (least, greatest) in FT.search_space.items():
            assert least <= trial.parameters[name] <= greatest
        assert isinstance(trial.parameters["tuning_steps"], int)
        assert json.loads(json.dumps(trial.parameters)) == trial.parameters
    assert found == trials(0.3, 0.2, 0.25, 0.22, 0.21, 0.2)  # the same each time


def test_proposals_follow_the_scores():
    """After the random start, the best of two regions draws the search."""
    low = [
        Trial(0, {}, (0.5,), 1.0),
        *(
            Trial(n, {"start_length": length}, (score,), 1.0)
            for n, (length, score) in enumerate([(0.2, 0.5), (2.0, 0.1), (1.8, 0.11)], 1)
        ),
    ]
    proto = find_learner("PROTO")
    proposed = propose(proto, {"start_length": 0.4}, low, seed=0)["start_length"]
    assert proposed > 0.6


def test_no_trial_is_tried_twice():
    """One dimension whose best lies at its bound, where the search would end."""
    wg, done = find_learner("WG"), []
    for number in range(8):
        parameters = propose(wg, {"head_rate": 2e-3}, done, seed=0)
        rate = parameters.get("head_rate", 2e-3)
        done.append(Trial(number, parameters, (0.3 - 0.1 * rate,), 1.0))
    rates = [trial.parameters.get("head_rate", 2e-3) for trial in done]
    assert len(set(rates)) == 8 and max(rates) == wg.search_space["head_rate"][1]


@pytest.fixture(scope="module")
def experiment(smoke_folder):
    data = smoke_folder / "data" / SMOKE.drawn.name
    return Experiment.of(SMOKE, data, smoke_folder / "tuned" / "work")


def test_a_study_that_was_killed_ends_as_an_unbroken_one(experiment, monkeypatch):
    place = benchmark("B-1")
    for rehearsal in place.rehearsals:
        train_base(experiment, rehearsal, "linear", quiet)
    path = study_path(experiment, place, FT)
    study(experiment, place, FT, quiet)
    whole = untimed(path)
    assert len(whole) == SMOKE.tuning.trials
    tried = [{**trial, "scores": trial["scores"][:1]} for trial in whole]
    last = sorted(tried, key=lambda trial: trial["scores"])[SMOKE.tuning.finalists - 1]["number"]
    judged = [{**t, "scores": t["scores"][: 2 if t["number"] == last else 3]} for t in whole]
    done = []
    monkeypatch.setattr(search, "try_out", lambda *given: done.append(given) or try_out(*given))
    for left, missing in ((tried[:2], 7), (tried, 4), (judged, 1)):
        path.with_suffix(".unfinished").write_text(json.dumps(left))
        path.unlink()
        done.clear()
        study(experiment, place, FT, quiet)
        assert untimed(path) == whole
        assert len(done) == missing  # what was done is not done again
        assert not path.with_suffix(".unfinished").exists()
    assert study_path(experiment, place, METACLOTH) != path

    judged = [trial for trial in whole if len(trial["scores"]) > 1]
    assert [len(trial["scores"]) for trial in judged] == [3] * SMOKE.tuning.finalists
    firsts = sorted(trial["scores"][0] for trial in whole)
    assert sorted(trial["scores"][0] for trial in judged) == firsts[: SMOKE.tuning.finalists]
    for trial in judged:
        assert trial["scores"] == [
            try_out(experiment, rehearsal, FT, trial["parameters"])
            for rehearsal in place.rehearsals
        ]


def test_gather_takes_the_least_mean_and_writes_every_trial(experiment, tmp_path):
    """Worked by hand: the first rehearsal alone would have trial 1, all three have trial 2."""
    place, rates = benchmark("B-2"), [{}, {"inner_rate": 0.1}, {"inner_rate": 0.2}]
    scores = [(0.3,), (0.1, 0.3, 0.5), (0.2, 0.2, 0.3)]
    trials = [Trial(n, *both, 1.0) for n, both in enumerate(zip(rates, scores))]
    path = study_path(experiment, place, FT)
    write_text(path, json.dumps([asdict(trial) for trial in trials]))
    assert gather(experiment, tmp_path)["B-2"] == {"FT": {"inner_rate": 0.2}}
    table = pd.read_csv(tmp_path / "trials.csv").query("benchmark == 'B-2'")
    assert list(table) == list(TRIALS.columns)
    assert table.chosen.tolist() == [False, False, True]
    assert table[["score", "second", "third"]].values.tolist()[1:] == [[*s] for s in scores[1:]]
    assert table.score.tolist() == [0.3, 0.1, 0.2] and table.third.isna().tolist()[0]
    path.unlink()


def test_a_benchmark_with_two_seen_categories_is_passed_over(experiment, tmp_path, monkeypatch):
    small = Benchmark("small", "", (1, 2), (3,))
    monkeypatch.setattr(Folder, "benchmarks", {**BENCHMARKS, "small": small})
    gather(experiment, tmp_path)
    with pytest.raises(UserError, match="small"):
        _ = small.rehearsals


def test_the_mean_over_rehearsals_decides_among_finalists():
    tried = [
        Trial(0, {}, (0.30,), 1.0),
        Trial(1, {}, (0.10, 0.40, 0.30), 1.0),
        Trial(2, {}, (0.20, 0.20, 0.20), 1.0),
        Trial(3, {}, (0.10,), 1.0),
    ]
    assert finalists(tried, 2) == [1, 3] and finalists(tried, 3) == [1, 3, 2]
    assert choose(tried).number == 2
    assert choose([Trial(0, {}, (0.2,), 1.0), Trial(1, {}, (0.1,), 1.0)]).number == 1


def test_a_trial_trains_what_a_learner_starts_from_with_the_same_parameters(experiment):
    tried = search.trial_experiment(experiment, METACLOTH, {"inner_rate": 0.07, "head_rate": 0.01})
    place = benchmark("B-2").rehearsal
    for name in ("MetaCloth", "Base-FEN"):
        settings = tried.preset.settings_on(place, find_learner(name))
        assert (settings.inner_rate, settings.head_rate) == (0.07, 0.01)
    assert (
        tried.preset.settings_on(place, FT).inner_rate
        == experiment.preset.settings_on(place, FT).inner_rate
    )
    assert tasks_of(tried, place).categories == place.seen


def test_choices_reach_the_settings(monkeypatch):
    chosen = {"B-1": {"FT": {"inner_rate": 0.123}}}
    monkeypatch.setattr("benchmarks.presets._tuned", lambda name: chosen)
    assert SMOKE.settings(FT, "B-1").inner_rate == 0.123
    assert SMOKE.settings(FT, "B-2").inner_rate == FT.Settings().inner_rate
    assert SMOKE.settings(FT, "B-1r").inner_rate == FT.Settings().inner_rate  # no head start


@pytest.mark.parametrize("text", ["tasks=3", "channels=8", "episodes=3"])
def test_what_a_search_cannot_be_asked_for_is_one_line(text, in_smoke_folder, capsys):
    assert tune.main(["--preset", "smoke", "--set", text, "--out", "refused"]) == 2
    assert tune.main(["--preset", "smoke", "--set", "channels=8", "--choices", "a.json"]) == 2
    Path("broken.json").write_text("{")
    for name in ("broken.json", "choices"):
        assert tune.main(["--preset", "smoke", "--out", "refused", "--choices", name]) == 2
    said = capsys.readouterr().err.strip().split("\n")
    words = (text.partition("=")[0], "--out", "broken.json", "choices")
    assert len(said) == 4 and all(word in line for word, line in zip(words, said))


def test_a_search_on_another_network_keeps_its_choices_apart(in_smoke_folder):
    asked = ["--preset", "smoke", "--set", "channels=8", "--out", "apart", "--workers", "1"]
    once = ["--benchmark", "B-2", "--learner", "PROTO", "--choices", "apart.json"]
    before = {path: path.read_text() for path in tune.TUNED.iterdir()}
    assert tune.main([*asked, *once]) == 0
    assert {path: path.read_text() for path in tune.TUNED.iterdir()} == before
    chosen = json.loads((in_smoke_folder / "apart.json").read_text())
    preset = change(SMOKE, ["channels=8", "tuned=apart.json"])
    assert preset.chosen("PROTO", "B-2") == chosen["B-2"]["PROTO"]


def test_choices_that_were_not_searched_anew_are_kept(tmp_path):
    path = tmp_path / "small.json"
    first = {"B-1": {"FT": {"inner_rate": 0.1}, "WG": {}}, "B-2": {"WG": {"head_rate": 1.0}}}
    assert keep(path, first) == []
    assert keep(path, {"B-1": {"FT": {"inner_rate": 0.2}}}) == ["WG on B-1", "WG on B-2"]
    first["B-1"]["FT"] = {"inner_rate": 0.2}
    assert json.loads(path.read_text()) == first


def test_committed_choices_are_of_the_search_spaces():
    preset: Preset = find_preset("full")
    for place in BENCHMARKS:
        of_metacloth = preset.chosen("MetaCloth", place)
        assert all(preset.chosen(name, place) == of_metacloth for name in ABLATIONS)
        for name in LEARNERS:
            space = find_learner(name).search_space
            for setting, value in preset.chosen(name, place).items():
                least, greatest = space[setting]
                assert least <= value <= greatest


def test_mistakes_are_one_line(capsys):
    assert main(["--preset", "mini"]) == 2
    assert main(["--learner", "LD-Keep"]) == 2
    assert main(["--learner", "SVM"]) == 2
    assert main(["--benchmark", "B-9"]) == 2
    assert main(["--benchmark", "B-1r2"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 5
    assert "no budget" in lines[0] and "MetaCloth" in lines[1] and "B-1" in lines[3]
    assert "rehearsal" in lines[4]


def untimed(path):
    return [{**trial, "seconds": 0} for trial in json.loads(path.read_text())]


def quiet(share):
    pass
