"""What `compare` says of small untrained learners on hand-made photos, and its statistics."""

import json
import math

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.keypoints import Keypoints
from fewshot_landmarks.evaluation import evaluate_episode
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.photos.commands import compare
from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.photos.comparison import (
    Crops,
    PhotoEpisodes,
    measure,
    measure_mean_position,
)
from fewshot_landmarks.photos.errors.by_shots import (
    Errors,
    ErrorsByShots,
    estimate,
    falls,
    means,
    resamples,
)
from fewshot_landmarks.photos.model import Model, load
from fewshot_landmarks.samples import Task, collate
from fewshot_landmarks.support.errors import UserError

NAMES = ["tip", "left", "right"]
COLOURS = [(250, 60, 60), (60, 250, 60), (60, 60, 250)]
SIZE = 32


def save_model(folder, name, most=25):
    torch.manual_seed(0)
    learner = find_learner(name)
    base = BaseModel(SmallFENet(16, 8), {1: most}, learner.base_kind, most)
    made = learner(base, learner.Settings(inner_steps=1)).eval()
    options = {"channels": 16, "width": 8}
    Model(made, name, "small", options, SIZE, None, {}).save(folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """PROTO and WG, and MAML, which has detectors for two landmarks alone."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "PROTO")
    save_model(folder, "WG")
    save_model(folder, "MAML", most=2)
    return folder


@pytest.fixture
def annotate(tmp_path):
    """Writes a COCO file of photos with coloured dots, and gives its path."""

    def write(name, count, *, names=NAMES, hidden=(), each=1, first=0):
        """hidden: (object, landmark) that are not labelled; each: objects a photo."""
        random = np.random.default_rng(first)
        images, annotations = [], []
        for i in range(count):
            number, corner = first + i, 60 * (i % each)
            if not i % each:
                photo = random.integers(0, 40, (60, 60 * each, 3), np.uint8)
                file = f"{name}-{number}.png"
                images.append({"id": number, "file_name": file, "width": 60 * each, "height": 60})
            marks = []
            for k, landmark in enumerate(NAMES):
                x, y = random.uniform(5, 55, 2)
                cv2.circle(photo, (int(corner + x), int(y)), 3, COLOURS[k], -1)
                hide = (i, k) in hidden
                marks.append([0, 0, 0] if hide else [float(corner + x), float(y), 2])
            cv2.imwrite(str(tmp_path / images[-1]["file_name"]), photo)
            ordered = [marks[NAMES.index(n)] if n in NAMES else marks[0] for n in names]
            annotations.append(
                {
                    "id": 1000 + number,
                    "image_id": images[-1]["id"],
                    "category_id": 3,
                    "keypoints": [value for mark in ordered for value in mark],
                    "bbox": [corner, 0, 60, 60],
                    "area": 2500,
                    "iscrowd": 0,
                }
            )
        categories = [{"id": 3, "name": "kite", "keypoints": list(names)}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        return tmp_path / f"{name}.json"

    return write


def run(support, query, models, *more):
    paths = "--support", support, "--query", query, "--models", models
    return compare.execute(parser().parse_args(["compare", *map(str, (*paths, *more))]))


def read(folder, kind="learner"):
    """The rows of what was written that are of learners, or of the control."""
    rows = pd.read_csv(folder / "compare.csv")
    return rows[rows.kind == kind].drop(columns="kind").reset_index(drop=True)


def table(said):
    """The printed table's rows by learner."""
    lines = [line[1:-1].split("|") for line in said.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]}


# --------------------------------------------------------------------------- the command


def test_a_cell_is_what_evaluate_episode_says(annotate, models, tmp_path):
    support = annotate("s", 4, hidden={(0, 1), (1, 1), (2, 1)})
    query = annotate("q", 5, hidden={(0, 0), (3, 2)}, first=50)
    assert run(support, query, models, "--learner", "PROTO", "--draws", 3, "--out", tmp_path) == 0
    rows = read(tmp_path)
    assert sorted(rows.shots) == [1] * 3 + [3] * 3 + [4]
    learner = load(models / "PROTO.safetensors").learner
    crops = [Keypoints(read_annotations(path), size=SIZE) for path in (support, query)]
    for row in rows.itertuples():
        chosen = [crops[0][int(item) - 1000] for item in str(row.support).split()]
        task = Task(3, collate(chosen), collate([*crops[1]]))
        expected = evaluate_episode(learner, task, row.shots)
        assert row.ne == pytest.approx(expected.ne, abs=2e-6)
        assert row.landmarks == expected.scored
    assert rows.landmarks.nunique() > 1  # some draws do not label the second landmark


def test_the_table_holds_the_means_over_draws(annotate, models, tmp_path, capsys):
    out = tmp_path / "out"
    run(annotate("s", 4), annotate("q", 6, first=50), models, "--learner", "PROTO", "--out", out)
    said = capsys.readouterr().out
    rows = read(out)
    expected = rows.groupby("shots")["ne"].mean()
    shown = [float(cell.replace("*", "").split()[0]) for cell in table(said)["PROTO"][:4]]
    assert shown[:3] == pytest.approx(expected.tolist(), abs=1e-4)
    assert shown[3] == pytest.approx(rows[rows.shots == 4]["pck@0.1"].item(), abs=1e-4)
    assert said == (out / "compare.md").read_text()
    assert cv2.imread(str(out / "compare.png")).std() > 0


def test_all_learners_meet_the_same_draws(annotate, models, tmp_path):
    support, query = annotate("s", 7), annotate("q", 2, first=50)
    two = "--learner", "WG", "PROTO", "--shots", 2, 5, "--draws", 4
    run(support, query, models, *two, "--out", tmp_path / "a")
    run(support, query, models, *two, "--out", tmp_path / "b", "--seed", 1)
    rows = read(tmp_path / "a").set_index(["shots", "draw"])
    ours, theirs = (rows[rows.learner == name].support for name in ("WG", "PROTO"))
    assert ours.to_dict() == theirs.to_dict() and len(ours) == 8
    drawn = {key: value.split() for key, value in ours.items()}
    for (shots, draw), items in drawn.items():
        assert len(set(items)) == shots
        assert items == drawn[5, draw][:shots]
    assert len({tuple(items) for items in drawn.values()}) == 8
    others = read(tmp_path / "b").support
    assert set(others) != set(ours)


def test_a_learner_that_cannot_is_a_row_and_the_others_go_on(annotate, models, capsys):
    assert run(annotate("s", 2), annotate("q", 2, first=50), models) == 0
    rows = table(capsys.readouterr().out)
    assert list(rows) == ["MAML", "WG", "PROTO", "CLM", "mean position (control)"]
    assert "2 detectors" in rows["MAML"][0]
    assert float(rows["PROTO"][0].strip("*").split("*")[0].split()[0]) > 0


def test_only_learners_that_cannot_is_a_failure(annotate, models, capsys):
    paths = annotate("s", 2), annotate("q", 2, first=50)
    assert run(*paths, models, "--learner", "MAML") == 1
    said = capsys.readouterr().out
    assert "2 detectors" in said
    assert float(table(said)["mean position (control)"][0].split()[0]) > 0


def test_landmarks_in_another_order_are_put_in_order(annotate, models, tmp_path):
    support, errors, said = annotate("s", 3), [], []
    for names in (NAMES, NAMES[::-1]):
        query = annotate("q", 3, names=names, hidden={(1, 0)}, first=50)
        run(support, query, models, "--learner", "PROTO", "--out", tmp_path)
        errors.append(pd.read_csv(tmp_path / "compare.csv")["ne"].tolist())  # the control's too
        said.append((tmp_path / "compare.md").read_text())
    assert errors[0] == errors[1]
    assert len(said[0]) < len(said[1])  # the order is told


def test_photos_that_cannot_be_read_are_said_and_left_out(annotate, models, tmp_path, capsys):
    support, query = annotate("s", 3), annotate("q", 3, first=50)
    for name in ("s-1.png", "q-50.png"):
        photo = tmp_path / name
        photo.write_bytes(photo.read_bytes()[:100])
    run(support, query, models, "--learner", "PROTO", "--out", tmp_path)
    said = capsys.readouterr().out
    assert "s-1.png" in said and "q-50.png" in said
    rows = read(tmp_path)
    assert rows.shots.max() == 2 and set(rows.objects) == {2}
    assert "1001" not in " ".join(rows.support.astype(str))


def test_objects_in_photos_of_the_support_are_left_out_of_the_query(annotate, models, tmp_path):
    both = annotate("both", 8, each=2)
    run(both, both, models, "--learner", "PROTO", "--shots", 1, 2, "--out", tmp_path)
    rows = read(tmp_path)
    for draw in rows[rows.shots == 2].itertuples():
        photos = {(int(item) - 1000) // 2 for item in draw.support.split()}
        assert draw.objects == 8 - 2 * len(photos)
    assert set(rows.objects) <= {4, 6} and 4 in set(rows.objects)
    with pytest.raises(UserError, match="--shots"):
        run(both, both, models)  # all of them as support leave nothing


def test_one_support_object_is_one_shot(annotate, models, tmp_path, capsys):
    run(annotate("s", 1), annotate("q", 3, first=50), models, "--out", tmp_path)
    assert set(pd.read_csv(tmp_path / "compare.csv").shots) == {1}
    assert "nan" not in capsys.readouterr().out


def test_one_query_object_has_no_interval(annotate, models, capsys):
    run(annotate("s", 3), annotate("q", 1, first=50), models)
    assert " to " not in " ".join(table(capsys.readouterr().out)["PROTO"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--learner", "PROTOO"), "PROTOO.*MAML, PROTO, WG"),
        (("--learner", "mean position"), "mean position.*MAML, PROTO, WG"),
        (("--shots", 9), "--shots 9.*3 objects"),
        (("--category", "dragon"), "dragon"),
    ],
)
def test_bad_arguments_are_one_line(annotate, models, more, says):
    with pytest.raises(UserError, match=says):
        run(annotate("s", 3), annotate("q", 3, first=50), models, *more)


@pytest.mark.parametrize("shots", ["0", "-1", "two"])
def test_shots_that_are_none_are_refused(annotate, models, shots):
    with pytest.raises(SystemExit):
        run("s", "q", models, "--shots", shots)


def test_a_folder_without_models_is_one_line(annotate, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="--models"):
            run(annotate("s", 2), annotate("q", 2, first=50), folder)


def test_other_landmarks_are_one_line_with_their_names(annotate, models):
    query = annotate("q", 2, names=["one", "two", "three"], first=50)
    with pytest.raises(UserError, match="right.*three"):
        run(annotate("s", 2), query, models)


def test_landmarks_that_one_side_lacks_are_not_scored(annotate, models, tmp_path, capsys):
    same, other = annotate("q", 3, first=50), annotate("r", 3, first=50)
    coco = json.loads(other.read_text())
    coco["categories"][0]["keypoints"][-1] = "tail"  # the support's last is the support's alone
    other.write_text(json.dumps(coco))
    hidden = json.loads(same.read_text())
    for annotation in hidden["annotations"]:
        annotation["keypoints"][-3:] = 0, 0, 0
    same.write_text(json.dumps(hidden))
    support = annotate("s", 3)
    for query, out in ((same, "same"), (other, "other")):
        assert run(support, query, models, "--out", tmp_path / out) == 0
    assert "tail" in capsys.readouterr().out
    one, two = (pd.read_csv(tmp_path / out / "compare.csv") for out in ("same", "other"))
    keys = ["learner", "shots", "draw"]
    errors = [name for name in one if name.lower() == "ne"]
    assert errors
    pd.testing.assert_frame_equal(one[keys + errors], two[keys + errors])


def test_nothing_to_score_is_one_line(annotate, models):
    support = annotate("s", 2, hidden={(i, 0) for i in range(2)})
    query = annotate("q", 2, hidden={(i, k) for i in range(2) for k in (1, 2)}, first=50)
    with pytest.raises(UserError, match=r"q\.json"):
        run(support, query, models)


# ---------------------------------------------------------------------------- a detector


class Centre(Learner):
    """Finds every landmark at the crop's centre."""

    name = "Centre"
    diverges = False  # whether it does in all objects but the first
    needs = 0  # bytes to adapt

    def adapt(self, support):
        bytearray(self.needs)

        def detector(images):
            maps = torch.zeros(len(images), 3, 3, 3)
            maps[:, :, 1, 1] = 1
            if self.diverges:
                maps[1:] = math.nan
            return maps

        return detector


def episodes_of(annotate, **options):
    support, query = annotate("s", 2, **options), annotate("q", 3, first=50)
    return PhotoEpisodes.of(
        *(Crops.of(read_annotations(p), SIZE) for p in (support, query)), None, 3, 0
    )


def centre():
    base = BaseModel(SmallFENet(16, 8), {1: 3}, "linear", 3)
    return Centre(base, Centre.Settings())


def test_errors_are_in_units_of_the_objects_size(annotate):
    episodes = episodes_of(annotate)
    index = read_annotations(episodes.query.source).index
    points = np.stack([index.landmarks(i)[0] for i in range(3)])
    errors = np.linalg.norm(points - 30, axis=2) / 50  # the area is 2500
    each = measure(centre, episodes, "cpu")[0]
    assert each.sums == pytest.approx(errors.sum(1), abs=1e-5)
    assert each.hits.tolist() == (errors < 0.1).sum(1).tolist()
    assert each.adapt > 0 and each.predict > 0


def test_a_learner_that_diverges_gives_no_answer_and_is_never_best(annotate):
    episodes = episodes_of(annotate)
    diverging = centre()
    diverging.diverges = True
    loaders = {"bad": lambda: diverging, "fine": centre}
    results = {name: measure(loader, episodes, "cpu") for name, loader in loaders.items()}
    comparison = ErrorsByShots.of(results, measure_mean_position(episodes), episodes, 0)
    assert comparison.best == "fine"
    bad, fine = (comparison.learners[name].scores for name in ("bad", "fine"))
    assert math.isnan(bad[0].value)
    assert bad[-1].value <= fine[-1].value
    assert table(compare.to_markdown(comparison, results))["bad"][:2] == ["no answer"] * 2


def test_memory_is_what_the_adaptation_took_and_too_little_is_no_crash(annotate):
    episodes, learner = episodes_of(annotate), centre()
    learner.needs = 200 * 2**20
    first = measure(lambda: learner, episodes, "cpu")[0]
    assert math.isnan(first.mib) or 190 < first.mib < 300
    learner.needs = 2**60
    assert "memory" in measure(lambda: learner, episodes, "cpu")


# --------------------------------------------------------------------------- the control

BOXES = [[10, 20, 40, 60], [0, 0, 100, 100]]  # x, y, width and height
SUPPORT = [[(20, 50), None, None], [(75, 50), (10, 20), None]]
QUERY = [[(51, 58), (25, 24), (90, 90)]]  # in 20, 10, 50, 80


def pictured(folder, name, objects, boxes):
    """A COCO file of an object a photo, of these landmarks (None: not labelled), of area 2500."""
    kite = {"id": 3, "name": "kite", "keypoints": NAMES}
    said = {"images": [], "annotations": [], "categories": [kite]}
    for number, (points, box) in enumerate(zip(objects, boxes, strict=True), 1):
        file = f"{name}-{number}.png"
        cv2.imwrite(str(folder / file), np.full((100, 100, 3), 90, np.uint8))
        said["images"].append({"id": number, "file_name": file, "width": 100, "height": 100})
        marks = [n for point in points for n in ((*point, 2) if point else (0, 0, 0))]
        one = {"id": number, "image_id": number, "category_id": 3, "keypoints": marks}
        said["annotations"].append(one | {"bbox": box, "area": 2500, "iscrowd": 0})
    (folder / f"{name}.json").write_text(json.dumps(said))
    return folder / f"{name}.json"


def test_the_mean_position_by_hand(models, tmp_path, capsys):
    """In units of the boxes the tip is at .25, .5 and .75, .5, the left one at .1, .2: both in the
    query's box at 45, 50 and 25, 26, which is 10 and 2 pixels off, and an object is 50 large.
    """
    paths = (
        pictured(tmp_path, "s", SUPPORT, BOXES),
        pictured(tmp_path, "q", QUERY, [[20, 10, 50, 80]]),
    )
    assert run(*paths, models, "--learner", "PROTO", "--draws", 4, "--out", tmp_path) == 0
    rows = read(tmp_path, "control")
    assert set(rows.learner) == {"mean position"}
    both = rows[rows.shots == 2].squeeze()
    assert both[["ne", "pck@0.1", "landmarks"]].tolist() == pytest.approx([0.12, 0.5, 2])
    # One photo: 18.5 and 8 off with the first, which labels the tip alone; 6.5 and 8 with the other.
    expected = {
        "1": (math.hypot(18.5, 8) / 50, 1),
        "2": ((math.hypot(6.5, 8) / 50 + 0.04) / 2, 2),
    }
    alone = rows[rows.shots == 1]
    assert set(alone.support) == set(expected)
    for row in alone.itertuples():
        assert (row.ne, row.landmarks) == pytest.approx(expected[str(row.support)], abs=1e-6)
    ours = read(tmp_path)[["shots", "draw", "support", "landmarks", "objects"]]
    assert rows[ours.columns].equals(ours)  # the learner's draws and landmarks
    *cells, seconds, each, memory = table(capsys.readouterr().out)["mean position (control)"]
    shown = [float(cell) for cell in cells]
    assert shown == pytest.approx([alone["ne"].mean(), 0.12, 0.5], abs=1e-4)
    assert seconds == each == memory == ""


@pytest.mark.parametrize(
    ("control", "said"), [(0.2, "higher, by 0.1000"), (0.35, "lower, by 0.0500")]
)
def test_the_mean_position_is_told_beside_the_best_learner(control, said):
    errors = np.full((1001, 1), 0.3)
    comparison = compared((5,), np.full((1001, 1), control), A=errors)
    assert comparison.best == "A"
    assert said in compare.sentences(comparison, 5)[1]
    noise = np.random.default_rng(0).normal(0, 0.2, (1001, 1))
    noise[0] = control
    assert "distinguishable" in compare.sentences(compared((5,), noise, A=errors), 5)[1]


# ---------------------------------------------------------------------------- statistics


def compared(shots, control=None, **errors):
    """A comparison of these errors (1001, K) by learner."""
    made = {name: Errors(each, np.ones(1001)) for name, each in errors.items()}
    control = next(iter(errors.values())) if control is None else control
    return ErrorsByShots(shots, made, Errors(control, np.ones(1001)))


def test_equal_numbers_have_an_interval_of_no_width():
    counts = np.random.default_rng(0).integers(1, 9, (6, 20))
    found = estimate(means(0.25 * counts, counts, *resamples(6, 20, 0)))
    assert found == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("axis", [0, 1])
def test_intervals_are_over_draws_and_over_objects(axis):
    each = np.random.default_rng(0).normal(1, 0.2, 50)
    errors = np.broadcast_to(np.expand_dims(each, 1 - axis), (50, 50))
    value, low, high = estimate(means(errors, np.ones((50, 50)), *resamples(50, 50, 0)))
    assert value == pytest.approx(each.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * each.std() / math.sqrt(50), rel=0.1)


def test_an_object_of_no_scored_landmark_does_not_count():
    sums, counts = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[1, 0], [2, 0]])
    values = means(sums, counts, *resamples(2, 2, 0))
    assert values[0] == pytest.approx((1 + 1.5) / 2)
    assert np.isnan(values).any()  # only the object of none
    assert estimate(values)[1:] == pytest.approx((1, 1.5))


def test_the_fall_of_an_exact_line_and_what_more_objects_would_do():
    shots = 1, 3, 8, 12
    errors = np.tile(0.3 - 0.04 * np.log2(shots), (1001, 1))
    assert falls(errors, shots) == pytest.approx(np.full(1001, 0.04))
    assert np.isnan(falls(errors[:, :1], shots[:1])).all()
    comparison = compared(shots, A=errors)
    first, _, last = compare.sentences(comparison, 12)
    more = 0.04 * math.log2(17 / 12)
    assert f"{0.3 - 0.04 * math.log2(12):.4f}" in first
    assert "0.0400 (0.0400 to 0.0400)" in last and f"{more:.4f}" in last
    assert f"{math.log2(17 / 12):.2f} doublings" in last


def test_the_difference_from_the_best_is_paired():
    noise, other = np.random.default_rng(0).normal(0, 0.05, (2, 1001, 1))
    noise[0] = other[0] = 0
    errors = {"A": 0.2 + noise, "B": 0.21 + noise, "C": 0.21 + other}
    comparison = compared((3,), **errors)
    best, second, third = comparison.learners.values()
    assert comparison.best == "A"
    assert second.less(best) == pytest.approx((0.01, 0.01, 0.01))
    assert third.less(best).low < 0 < third.less(best).high
    first, *_ = compare.sentences(comparison, 3)
    assert "C" in first.partition("Not distinguishable")[2] and "B," not in first
