"""The harness from end to end on the smoke preset: kills, resumes, bad input, a new learner."""

import base64
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.commands.cells import _files, cells
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_key, episodes_path, fit_key
from benchmarks.engine.plan import Cell, Job, plan, training_jobs
from benchmarks.engine.pool import do
from benchmarks.export import main as export
from benchmarks.presets import MINI, PRESETS, SMOKE
from benchmarks.run import main
from fewshot_landmarks import learner as registry
from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, BEYOND, LEARNERS, UNTRAINED
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import RECORD
from tests.conftest import SOME
from tests.processes import wait_for

ROOT = Path(__file__).parents[2]


def test_an_unbroken_run_fills_its_cells(unbroken):
    table = pd.read_csv(unbroken / "table2.csv")
    assert set(table.learner) == {"MRN", "MetaCloth"} and set(table.benchmark) == {"B-2"}
    assert len(table) == 2 * 6 and table["ne"].notna().all()
    assert (table.episodes == 7 * SMOKE.episodes).all()
    table3 = pd.read_csv(unbroken / "table3.csv")
    assert len(table3) == 2 * 7
    made = json.loads((unbroken / "run.json").read_text())
    assert made["preset"] == "smoke"
    assert made["settings"]["B-2"]["MetaCloth"]["inner_steps"] == SMOKE.common["inner_steps"]
    costs = pd.read_csv(unbroken / "costs.csv").set_index(["stage", "name"])
    assert costs.loc[("fit", "MetaCloth"), "seconds"].item() > 0
    assert 100 < costs.loc[("evaluate", "MetaCloth"), "peak_mib"].item() < 20_000
    curves = pd.read_csv(unbroken / "curves.csv.gz")
    steps = curves.groupby("learner")["step"].max()
    assert steps["MetaCloth"] == SMOKE.common["tasks"]
    assert steps["Base-FEN"] == SMOKE.common["ppnet_tasks"]
    assert set(steps.index) == {"base linear", "Base-FEN", "MetaCloth", "MRN"}
    records = pd.read_csv(unbroken / "episodes.csv.gz")
    assert len(records) == 2 * 7 * SMOKE.episodes * 5
    shown = (records.benchmark == "B-2") & (records.category == "trousers") & (records.shots == 8)
    assert records.landmarks[shown].str.split().str.len().eq(14).all()
    assert shown.any() and records.landmarks[~shown].isna().all()


def test_a_run_claims_all_that_it_writes(made, unbroken):
    written = {path.name for path in (made / "unbroken").iterdir() if path.is_file()}
    assert "table2.csv" in written and written - {RECORD} <= set(_files(pages=False))


def test_killed_runs_end_in_the_same_bytes(in_smoke_folder, unbroken):
    out = in_smoke_folder / "killed"
    command = [sys.executable, "-m", "benchmarks.run", *SOME, "--out", str(out), "--workers", "1"]
    for sign in ("weights/base-*", "episodes/*/*/*.csv"):  # in training, and in evaluation
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: list(out.glob(f"work/{sign}")), 300)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main([*SOME, "--out", str(out)]) == 0
    for name in (
        "table2.csv", "table3.csv", "table4.csv", "table2.tex",
        "episodes.csv.gz", "curves.csv.gz", "similarities.csv", "heatmaps.npz",
    ):  # fmt: skip
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert not [*out.rglob("*.partial"), *out.rglob("*.damaged")]


def test_finished_work_is_not_done_again(in_smoke_folder, unbroken, capsys):
    weights = sorted((unbroken / "work").rglob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert weights
    assert main([*SOME, "--out", str(unbroken)]) == 0
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert main([*SOME, "--out", str(unbroken), "--dry-run"]) == 0
    assert "MetaCloth" not in capsys.readouterr().out.splitlines()[-1]


def test_all_writes_figures_claims_and_report_too(in_smoke_folder, unbroken, tmp_path, capsys):
    out = tmp_path / "all"
    shutil.copytree(unbroken, out)
    assert not (out / "report.html").exists()
    assert main(["--all", *SOME, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert str(out) in told and "figure_trust" in told
    page = (out / "report.html").read_text("utf-8")
    for name in ("figure4", "figure5", "figure6", "figure_shots", "figure_curves"):
        drawn = base64.b64encode((out / f"{name}.png").read_bytes()).decode()
        assert drawn in page and (out / f"{name}.pdf").stat().st_size
    assert set(pd.read_csv(out / "claims.csv")["where"].str[:3]) >= {"B-2"}


def test_the_readmes_learner_comes_into_the_tables(in_smoke_folder, unbroken, monkeypatch):
    text = (ROOT / "README.md").read_text("utf-8").split("## Your own learner")[1]
    code = re.search(r"```python\n(.*?class .*?)```", text, re.S).group(1)
    assert len(code.splitlines()) < 30
    command = re.search(r"python -m benchmarks\.run --learner (\w+):(\w+)", text)
    module, name = command.groups()
    (in_smoke_folder / f"{module}.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(in_smoke_folder)
    out = in_smoke_folder / "with_new"
    shutil.copytree(unbroken, out)
    arguments = ["--learner", f"{module}:{name}", "--preset", "smoke", "--benchmark", "B-2"]
    assert main([*arguments, "--out", str(out)]) == 0
    table = pd.read_csv(out / "table2.csv")
    assert set(table.learner) == {"COSINE", "MRN", "MetaCloth"}
    assert len(table) == 3 * 6


def test_the_docs_learn2learn_loop_runs(in_smoke_folder):
    text = (ROOT / "docs" / "tasks.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    exec(code, {})


def test_all_is_every_cell_of_every_table():
    wanted = cells(main.parser().parse_args(["--all"]), BENCHMARKS)
    assert {(cell.benchmark.name, cell.learner) for cell in wanted} == {
        (benchmark, learner)
        for benchmark in BENCHMARKS
        for learner in (*LEARNERS, *UNTRAINED, *BEYOND)
    } | {("B-2", learner) for learner in ABLATIONS}
    assert (*LEARNERS, *ABLATIONS, *UNTRAINED, *BEYOND) == tuple(registry.REGISTRY)


def test_shared_stages_are_planned_once(in_smoke_folder, unbroken):
    data = Path("data") / SMOKE.drawn.name
    experiment = Experiment.of(SMOKE, data, in_smoke_folder / "nothing")
    names = ("MetaCloth", "LD-Keep", "LD-Keep_M", "Base-FEN_M", "WG", "WG-ATT", "FT")
    jobs = plan(experiment, [Cell(BENCHMARKS["B-2"], name, (1, 3)) for name in names])
    trained = [(job.stage, job.name) for job in jobs if job.stage != "evaluate"]
    assert sorted(trained) == [
        ("base", "cosine"),
        ("base", "linear"),
        ("fit", "Base-FEN"),
        ("fit", "LD-Keep"),
        ("fit", "MetaCloth"),
        ("fit", "WG"),
        ("fit", "WG-ATT"),
    ]
    assert sum(job.stage == "evaluate" for job in jobs) == 7 * len(names)


def test_controls_need_no_training_and_are_evaluated_once_for_all_benchmarks(in_smoke_folder):
    data = Path("data") / SMOKE.drawn.name
    experiment = Experiment.of(SMOKE, data, in_smoke_folder / "nothing")
    cells = [Cell(place, name, (1, 3)) for place in BENCHMARKS.values() for name in UNTRAINED]
    jobs = plan(experiment, cells)
    assert {job.stage for job in jobs} == {"evaluate"} and not any(job.needs for job in jobs)
    unseen = {category for place in BENCHMARKS.values() for category in place.unseen}
    assert len(jobs) == len(UNTRAINED) * len(unseen)
    place, again = (registry.find_learner("PLACE") for _ in range(2))
    first = episodes_path(experiment, BENCHMARKS["B-1"], place, 8, 3)
    assert episodes_path(replace(experiment, seed=1), BENCHMARKS["B-2"], again, 8, 3) == first
    for changed in ({"control_episodes": 1}, {"episodes": 1}, {"size": 64}):
        other = Experiment.of(replace(SMOKE, **changed), data, in_smoke_folder / "nothing")
        assert episodes_path(other, BENCHMARKS["B-1"], place, 8, 3) != first
    more = Experiment.of(replace(SMOKE, episodes=9), data, in_smoke_folder / "nothing")
    assert episodes_path(more, BENCHMARKS["B-1"], place, 8, 3) == first


def test_an_untrained_base_model_may_be_learnt_on(in_smoke_folder):
    class Head(registry.Learner):
        name, version, base_kind = "HEAD", 1, "untrained"

        def fit(self, training):
            pass

    data = Path("data") / SMOKE.drawn.name
    experiment = Experiment.of(SMOKE, data, in_smoke_folder / "nothing")
    keys = {fit_key(experiment, place, Head) for place in BENCHMARKS.values()}
    assert len(keys) == len(BENCHMARKS)  # by what each has seen
    (job,) = training_jobs(experiment, BENCHMARKS["B-1"], Head)
    assert job.stage == "fit" and not job.needs


def test_controls_are_gathered_for_every_benchmark_and_seed(in_smoke_folder, tmp_path, capsys):
    words = ["--preset", "smoke", "--learner", "PLACE", "--out", str(tmp_path)]
    words += ["--set", "episodes=3", "--set", "control_episodes=1"]
    assert main([*words, "--benchmark", "B-1"]) == 0
    records = pd.read_csv(tmp_path / "episodes.csv.gz")
    assert set(records.benchmark) == {"B-1"} and len(records) == 7 * 5
    assert main(words) == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.npz")}
    assert main([*words, "--seed", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    records = pd.read_csv(tmp_path / "episodes.csv.gz")
    assert len(records) == 2 * 4 * 7 * 5 and set(records.episode) == {0}
    each = records.groupby(["category", "shots"])["ne"]
    assert (each.nunique() == 1).all() and (each.size() >= 2).all()
    shown = (records.benchmark == "B-2") & (records.category == "trousers") & (records.shots == 8)
    assert records.landmarks[shown].str.split().str.len().eq(14).all()
    assert records.landmarks[~shown].isna().all()
    table = pd.read_csv(tmp_path / "table5.csv")
    assert set(table.benchmark) == set(BENCHMARKS) and (table.episodes == 7).all()
    assert json.loads((tmp_path / "run.json").read_text())["plan"]["control_episodes"] == 1
    assert pd.read_csv(tmp_path / "costs.csv").stage.tolist().count("fit") == 0
    capsys.readouterr()
    assert export(["--preset", "smoke", "--learner", "CLM", "--out", str(tmp_path / "out")]) == 2
    assert "error: CLM" in capsys.readouterr().err


def test_keys_follow_what_decides(in_smoke_folder):
    def changed(**changes):
        data = Path("data") / SMOKE.drawn.name
        return Experiment.of(replace(SMOKE, **changes), data, in_smoke_folder / "keys")

    benchmark, metacloth = BENCHMARKS["B-2"], registry.find_learner("MetaCloth")
    base_fen, kept = (registry.find_learner(name) for name in ("Base-FEN", "Base-FEN_M"))
    plain = changed()
    key = fit_key(plain, benchmark, metacloth)
    assert fit_key(changed(episodes=9), benchmark, metacloth) == key
    assert fit_key(changed(base_epochs=9), benchmark, metacloth) != key
    assert fit_key(changed(common={**SMOKE.common, "tasks": 5}), benchmark, metacloth) != key
    assert fit_key(plain, BENCHMARKS["B-1"], metacloth) != key
    assert fit_key(replace(plain, seed=1), benchmark, metacloth) != key
    assert fit_key(plain, benchmark, kept) == fit_key(plain, benchmark, base_fen)
    one = episodes_key(plain, benchmark, kept, 7, 3)
    assert one != episodes_key(plain, benchmark, base_fen, 7, 3)
    assert one != episodes_key(changed(episodes=9), benchmark, kept, 7, 3)


def test_presets_know_their_learners():
    for preset in PRESETS.values():
        for name in registry.REGISTRY:
            for place in BENCHMARKS:
                preset.settings(registry.find_learner(name), place)
    known = {
        f for n in registry.REGISTRY for f in registry.find_learner(n).Settings.__dataclass_fields__
    }
    assert set(MINI.common) | set(SMOKE.common) <= known


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "nothing to do"),
        (["--learner", "SVM"], "'SVM'"),
        (["--all", "--preset", "huge"], "'huge'"),
        (["--benchmark", "B-9"], "'B-9'"),
        (["--shots", "2"], "--shots 2"),
        (["--all", "--workers", "0"], "--workers 0"),
        (["--all", "--preset", "paper"], "--data DIR"),
        (["--all", "--preset", "smoke", "--data", "nowhere"], "nowhere"),
        (["--all", "--preset", "smoke", "--out", "/proc/none"], "/proc/none"),
        (["--learner", "Base-FEN", "--benchmark", "B-1"], "B-2"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, told, in_smoke_folder, capsys):
    assert main([*arguments, *(["--out", "bad"] if "--out" not in arguments else [])]) == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert shown.startswith("error: ") and told in shown
    assert not list(Path("bad").glob("*.csv*")) if Path("bad").exists() else True


def test_a_category_with_too_few_garments_is_one_line(in_smoke_folder, tmp_path, capsys):
    data = tmp_path / "few"
    shutil.copytree(in_smoke_folder / "data" / SMOKE.drawn.name, data)
    for path in sorted((data / "validation" / "annos").glob("*.json"))[:150]:
        path.unlink()
    arguments = ["--preset", "smoke", "--data", str(data), "--benchmark", "B-1", "--learner", "FT"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert not list((tmp_path / "out").rglob("*.safetensors"))  # told before any training
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"error: validation: .* has \d+ photos.* 14 ", shown)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_want_of_memory_names_the_setting_that_lowers_it(error, tmp_path):
    def short(*_):
        raise error

    experiment = Experiment.of(SMOKE, tmp_path, tmp_path)
    with pytest.raises(UserError) as told:
        do(experiment, Job("fit", BENCHMARKS["B-2"], "MAML", short), lambda share: None)
    assert "fit B-2 MAML" in str(told.value) and "--set flat=True" in str(told.value)
    assert "\n" not in str(told.value)
    bug = Job("fit", BENCHMARKS["B-2"], "MAML", lambda *_: [][0])
    with pytest.raises(IndexError):
        do(experiment, bug, lambda share: None)
