"""Measurements of fitted models: their maths on toy models, and on the smoke preset's."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from benchmarks.engine import probes
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.stages import episodes_of, fit, train_base
from benchmarks.presets import SMOKE
from benchmarks.results.schemas import SIMILARITIES
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.heatmaps import labelmaps, landmark_features
from fewshot_landmarks.metacloth import BaseFEN, MetaCloth
from fewshot_landmarks.protocol import BENCHMARKS
from tests.toy import toy_base, toy_task


def toy_model(**settings) -> MetaCloth:
    base = toy_base()
    return MetaCloth(base, MetaCloth.Settings(**({"inner_rate": 0.1} | settings))).eval()


def unlabelled(samples, landmark):
    labelled = samples.labelled.clone()
    labelled[:, landmark] = False
    return replace(samples, labelled=labelled)


def test_nothing_changes_without_a_step():
    before_after, between = probes.tuning_similarities(toy_model(inner_steps=0), toy_task(), 2)
    assert before_after == pytest.approx(1, abs=1e-6)
    assert -1 <= between < 1


def test_similarities_are_those_by_hand():
    model, task = toy_model(inner_steps=2), toy_task(shots=3, queries=3, hidden=0.4)
    task = replace(task, query=unlabelled(task.query, 5))
    before_after, between = probes.tuning_similarities(model, task, 2)

    support, query = task.support[:2], task.query
    cloth = model.base.fenet(support.images)
    maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])
    omega = model.ppnet(landmark_features(cloth, maps, support.labelled)).detach()
    tuned = model.tune(support, omega, second_order=False)
    with torch.no_grad():
        old, new = model.fenet(query.images), tuned(query.images)
    cells = (query.landmarks * old.shape[-1] / query.size).long()
    same, of_landmark = [], {}
    for image in range(3):
        for n in range(category(9).landmarks):
            if query.labelled[image, n]:
                x, y = cells[image, n]
                same.append(F.cosine_similarity(old[image, :, y, x], new[image, :, y, x], dim=0))
                of_landmark.setdefault(n, []).append(new[image, :, y, x])
    assert 5 not in of_landmark and len({len(found) for found in of_landmark.values()}) > 1
    means = [torch.stack(found).mean(0) for found in of_landmark.values()]
    pairs = [
        F.cosine_similarity(a, b, dim=0)
        for i, a in enumerate(means)
        for j, b in enumerate(means)
        if i != j
    ]
    assert before_after == pytest.approx(torch.stack(same).mean().item(), abs=1e-5)
    assert before_after < 0.9999
    assert between == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-5)


def test_similarities_leave_the_model_as_it_was():
    model, task = toy_model(inner_steps=2), toy_task()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = probes.tuning_similarities(model, task, 2)
    assert probes.tuning_similarities(model, task, 2) == first
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_similarities_of_nothing_are_nan():
    task = toy_task()
    nothing = replace(task.query, labelled=torch.zeros_like(task.query.labelled))
    measured = probes.tuning_similarities(toy_model(), replace(task, query=nothing), 2)
    assert all(map(math.isnan, measured))


def test_heatmaps_are_of_the_query_with_most_landmarks():
    model, task = toy_model(), toy_task(shots=3, queries=4)
    labelled = torch.ones_like(task.query.labelled)
    labelled[0, 0] = labelled[3, 1] = False  # 1 and 2 tie
    task = replace(task, query=replace(task.query, labelled=labelled))
    task = replace(task, support=unlabelled(task.support, 4))
    found = probes.landmark_heatmaps(model, task, 2)
    assert found["image"].shape == (16, 16, 3) and found["image"].dtype == np.uint8
    image = task.query.images[1].permute(1, 2, 0).numpy()
    assert np.abs(found["image"] / 255 - image).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(found["landmarks"], task.query.landmarks[1].numpy())
    assert found["landmarks"].dtype == found["predicted"].dtype == np.float32
    assert found["labelled"].all() and found["labelled"].dtype == bool
    np.testing.assert_array_equal(np.flatnonzero(~found["learnable"]), [4])
    maps = found["heatmaps"]
    assert maps.shape == (8, 8, 8) and maps.dtype == np.float16
    np.testing.assert_allclose(maps.astype(float).sum((1, 2)), 1, atol=0.01)
    clear = found["learnable"]
    cells = np.floor(found["predicted"] / 2).astype(int)  # of two pixels
    chosen = maps.astype(float)[np.arange(8), cells[:, 1], cells[:, 0]]
    best = maps.astype(float).max((1, 2))
    assert (chosen >= best * (1 - 2e-3))[clear].all()  # two cells may tie in half precision
    assert (np.abs(found["predicted"] - 2 * (cells + 0.5))[clear] <= 0.5 + 1e-6).all()


def test_an_archive_has_the_same_bytes_twice():
    rng = np.random.default_rng(0)
    found = {
        "B-2/trousers": {"image": rng.integers(0, 255, (4, 4, 3), np.uint8)},
        "B-1/long sleeve top": {"heatmaps": rng.random((2, 3, 3)).astype(np.float16)},
    }
    content = probes.heatmaps_npz(found)
    assert probes.heatmaps_npz(dict(reversed(found.items()))) == content
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    assert archive.files == ["B-1/long sleeve top/heatmaps", "B-2/trousers/image"]
    for place, arrays in found.items():
        for name, array in arrays.items():
            back = archive[f"{place}/{name}"]
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back, array)
    with pytest.raises(ValueError, match="pickle|[Oo]bject"):
        probes.heatmaps_npz({"B-1/vest": {"image": np.array([None])}})


def test_figure_4_shows_what_is_unseen():
    for name, places in probes.FIGURE4.items():
        unseen = [b.name for b in BENCHMARKS.values() if category(name).id in b.unseen]
        assert list(places) == unseen


def test_similarities_as_csv():
    row = dict.fromkeys(SIMILARITIES.columns, 0) | {"before_after": 1 / 3, "between": math.nan}
    header, line = probes.similarities_csv([row]).splitlines()
    assert header == ",".join(SIMILARITIES.columns)
    assert line.endswith("0,0.333333,nan")


def test_probes_of_a_trained_learner(in_smoke_folder, tmp_path):
    data, place = Path("data") / SMOKE.drawn.name, BENCHMARKS["B-2"]
    experiment = Experiment.of(SMOKE, data, tmp_path, crops="not")
    train_base(experiment, place, "linear", lambda share: None)
    fit(experiment, place, BaseFEN, lambda share: None)
    tested, shares = category("skirt").id, []
    for make in (probes.make_similarities, probes.make_heatmaps):
        make(experiment, place, BaseFEN, tested, shares.append)
    path = probes.probe_path(experiment, place, BaseFEN, tested, probes.make_similarities)
    rows = pd.read_csv(path)
    assert rows.episode.tolist() == [0, 1] and shares == [0.5, 1.0]
    assert list(rows) == list(probes.SIMILARITIES.columns)
    assert set(zip(rows.model, rows.category, rows.shots)) == {("Base-FEN", "skirt", 8)}
    assert rows.before_after.between(0, 1, "right").all() and rows["between"].between(-1, 1).all()
    path = probes.probe_path(experiment, place, BaseFEN, tested, probes.make_heatmaps)
    with np.load(path, allow_pickle=False) as arrays:
        labelled, heatmaps = (arrays[f"B-2/skirt/{name}"] for name in ("labelled", "heatmaps"))
    query = episodes_of(experiment, tested)[0].query
    assert labelled.sum() == query.labelled.sum(1).max() and heatmaps.shape == (8, 16, 16)
