"""Photos without labels: what is looked at, what is kept in the file, and what is said."""

import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save

from baselines.untrained.clm import CLM
from baselines.untrained.weak import Taught
from fewshot_landmarks.__main__ import main
from fewshot_landmarks.photos import unlabelled
from fewshot_landmarks.photos.header import WEAK
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.photos.stored import HEADER
from fewshot_landmarks.photos.unlabelled import SHOWN, Outcome
from fewshot_landmarks.support.errors import UserError
from tests.colours import model, photo, photos
from tests.photos.test_foreign_models import refused, refused_with, said
from tests.photos.test_predict import annotate

SUPPORT, OTHERS = range(3), range(10, 14)


class Teaching:
    """Stands for `CLM.teach`: all landmarks of all crops are labels, in the support's places, and
    the errors of photos left out change by `more`, a photo each."""

    def __init__(self, monkeypatch, more):
        self.more, self.crops = more, []
        monkeypatch.setattr(CLM, "teach", lambda learner, *crops: self(*crops))

    def __call__(self, support, crops):
        self.crops.append(crops)
        told = torch.ones(len(crops), 4, dtype=torch.bool)
        places = support.landmarks.mean(0).expand(len(crops), -1, -1).contiguous()
        weak = replace(crops, landmarks=places, labelled=told, scored=told.clone())
        without = torch.full((len(self.more), 4), 0.2)
        return Taught(weak, without, without + torch.tensor(self.more).unsqueeze(1))


HELPS, HARMS = [-0.1, -0.05, -0.06], [0.1, 0.05, 0.06]


def adapt(**options):
    images, landmarks, boxes = photos(SUPPORT)
    return model("CLM").adapt(images, landmarks, boxes=boxes, names="abcd", **options)


def others(numbers=OTHERS):
    return photos(numbers)[0]


def folder_of(folder, numbers=OTHERS):
    folder.mkdir()
    for i in numbers:
        PIL.Image.fromarray(photo(i)[0]).save(folder / f"{i:03d}.png")
    return folder


def found(finder):
    images, _, boxes = photos(range(20, 23))
    seen = finder.predict(images, np.array(boxes))
    return seen.landmarks, seen.scores


@pytest.fixture
def support(tmp_path):
    """A model, and photos annotated for it: the beginning of a command."""
    model("CLM").save(tmp_path / "clm.safetensors")
    path = annotate(tmp_path / "support", SUPPORT)
    command = ["adapt", "--support", path, "--model", tmp_path / "clm.safetensors"]
    return [*map(str, command), "--out", str(tmp_path / "finder.safetensors")]


# --------------------------------------------------------------------------- what is kept


def test_a_file_holds_what_was_learnt(monkeypatch, tmp_path):
    Teaching(monkeypatch, HELPS)
    finder = adapt(unlabelled=others())
    assert finder.unlabelled.kept and finder.unlabelled.landmarks == 4 * len(OTHERS)
    finder.save(tmp_path / "finder.safetensors")
    again = load(tmp_path / "finder.safetensors")
    assert len(again.support.weak) == len(OTHERS)
    assert torch.equal(again.support.weak.labelled, finder.support.weak.labelled)
    assert torch.equal(again._boxed.looks, finder._boxed.looks)
    for ours, theirs in zip(found(again), found(finder)):
        np.testing.assert_array_equal(ours, theirs)
    assert not torch.equal(finder._boxed.looks, adapt()._boxed.looks)


def test_labels_that_harm_leave_the_finder_as_it_is(monkeypatch, tmp_path):
    Teaching(monkeypatch, HARMS)
    finder, plain = adapt(unlabelled=others()), adapt()
    assert not finder.unlabelled.kept and finder.support.weak is None
    for ours, theirs in zip(found(finder), found(plain)):
        np.testing.assert_array_equal(ours, theirs)
    finder.save(tmp_path / "one.safetensors")
    plain.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()


def test_without_photos_nothing_is_said():
    assert adapt().unlabelled is None and adapt(unlabelled=[]).unlabelled is None


@pytest.mark.parametrize(
    "more, kept, told",
    [
        ([-0.1, -0.05, -0.06], True, True),
        ([0.1, 0.05, 0.06], False, True),
        ([0.1, -0.09, 0.01], True, True),  # no more than chance
        ([0.0, 0.0, 0.0], False, False),  # labels that change nothing say nothing
        ([-0.1], False, False),  # a single photo has no noise to compare with
        ([], False, False),
    ],
)
def test_labels_are_kept_where_errors_are_not_higher_by_more_than_noise(
    monkeypatch, more, kept, told
):
    Teaching(monkeypatch, more)
    outcome = adapt(unlabelled=others()).unlabelled
    assert outcome.kept == kept and outcome.told == told


def test_the_noise_is_the_standard_error_of_the_difference(monkeypatch):
    Teaching(monkeypatch, HARMS)
    outcome = adapt(unlabelled=others()).unlabelled
    assert outcome.without == pytest.approx(0.2, abs=1e-6)
    assert outcome.taught == pytest.approx(0.2 + np.mean(HARMS), abs=1e-6)
    assert outcome.noise == pytest.approx(np.std(HARMS, ddof=1) / 3**0.5, rel=1e-4)


# --------------------------------------------------------------------- what is looked at


def test_objects_are_cropped_as_the_supports_are(monkeypatch):
    teaching = Teaching(monkeypatch, HELPS)
    finder = adapt(unlabelled=others())
    (crops,) = teaching.crops
    assert crops.size == finder.support.boxed.size and len(crops) == len(OTHERS)
    _, places, boxes = photos(OTHERS)
    seen = crops.to_original(crops.box.unflatten(1, (2, 2))).flatten(1).numpy()
    sides = np.array(boxes)[:, 2:] - np.array(boxes)[:, :2]
    assert (np.abs(seen - np.array(boxes)) < 0.2 * sides.max()).all()


def test_the_supports_own_photos_are_left_out(monkeypatch, support, tmp_path, capsys):
    """As the same file, as a copy of another name and form, and as an array."""
    teaching = Teaching(monkeypatch, HELPS)
    folder = folder_of(tmp_path / "more")
    PIL.Image.fromarray(photo(1)[0]).save(folder / "copy.bmp")
    assert main([*support, "--unlabelled", str(folder)]) == 0
    assert "copy.bmp" in capsys.readouterr().out
    assert len(teaching.crops[-1]) == len(OTHERS)
    outcome = adapt(unlabelled=[photo(0)[0], *others()]).unlabelled
    assert outcome.photos == len(OTHERS) and "image 1" in outcome.left_out[0]
    folder = tmp_path / "support"
    assert main([*support, "--overwrite", "--unlabelled", str(folder)]) == 2
    assert "annotated" in capsys.readouterr().err.strip().splitlines()[-1]


def test_many_photos_are_thinned_evenly(monkeypatch):
    Teaching(monkeypatch, HELPS)
    read = []
    monkeypatch.setattr(
        unlabelled, "read_photo", lambda image: (read.append(image), photo(10)[0])[1]
    )
    monkeypatch.setattr(unlabelled, "_crop", lambda *_: None)
    outcome = adapt(unlabelled=[f"{i}.png" for i in range(10 * WEAK)]).unlabelled
    steps = np.diff([int(name.removesuffix(".png")) for name in read])
    assert len(read) == WEAK and read[0] == "0.png" and set(steps) <= {10, 11}
    assert outcome.given == 10 * WEAK and outcome.photos == WEAK
    assert f"{WEAK} of {10 * WEAK} " in outcome.lines()[-1]


def test_photos_without_the_object_teach_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(CLM, "teach", refuse)
    monkeypatch.setattr(unlabelled, "THERE", 2.0)  # as if nothing looked like it
    finder = adapt(unlabelled=others())
    assert finder.unlabelled.labelled == 0 and finder.support.weak is None
    assert "nothing is learnt" in finder.unlabelled.lines()[-1]


# ---------------------------------------------------------------------- what is said


def test_adapt_says_what_came_of_them(monkeypatch, support, tmp_path, capsys):
    Teaching(monkeypatch, HELPS)
    assert main([*support, "--unlabelled", str(folder_of(tmp_path / "more"))]) == 0
    told = capsys.readouterr().out
    assert "16 landmarks in 4 of" in told and "0.2000 without" in told and ": kept" in told
    assert "no part in these errors" in told
    assert main(["doctor", "--model", str(tmp_path / "finder.safetensors")]) == 0
    assert "16 landmarks found in 4 photos without labels" in capsys.readouterr().out


def test_what_cannot_be_read_is_a_line_each_of_a_handful(monkeypatch, support, tmp_path, capsys):
    Teaching(monkeypatch, HELPS)
    folder = folder_of(tmp_path / "more")
    for i in range(SHOWN + 3):
        (folder / f"broken{i}.png").write_bytes(b"")
    assert main([*support, "--unlabelled", str(folder)]) == 0
    told = capsys.readouterr().out
    assert told.count("broken") == SHOWN and "3 more" in told


@pytest.mark.parametrize("kind", ["missing", "empty", "broken"])
def test_a_folder_without_photos_is_one_line(support, tmp_path, capsys, kind):
    folder = tmp_path / "more"
    if kind != "missing":
        folder.mkdir()
    if kind == "broken":
        (folder / "broken.png").write_bytes(b"")
    assert main([*support, "--unlabelled", str(folder)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(folder) in line and not (tmp_path / "finder.safetensors").exists()


def test_other_learners_say_so(support, tmp_path, capsys):
    model().save(tmp_path / "clm.safetensors")
    command = [*support, "--learner", "tests.colours:Colours"]
    assert main([*command, "--unlabelled", str(folder_of(tmp_path / "more"))]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "COLOURS" in line and "CLM" in line


def test_a_support_without_a_shape_says_so():
    images, landmarks, boxes = photos(SUPPORT)
    one = [each[:1] for each in landmarks]
    with pytest.raises(UserError, match="two landmarks"):
        model("CLM").adapt(images, one, boxes=boxes, unlabelled=others())


def test_lines_are_whole_sentences_whatever_came():
    nan = float("nan")
    for outcome in (
        Outcome(5, 5, 0, 0, nan, nan, nan, ()),
        Outcome(5, 5, 3, 2, nan, nan, nan, ()),
        Outcome(5, 5, 3, 2, 0.2, 0.2, 0.0, ()),
    ):
        assert "nothing is learnt from them" in outcome.lines()[-1] and "nan" not in outcome.lines()


# ------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The file of a finder that learnt from photos without labels."""
    with pytest.MonkeyPatch.context() as patch:
        Teaching(patch, HELPS)
        finder = adapt(unlabelled=others())
    path = tmp_path_factory.mktemp("taught") / "taught.safetensors"
    finder.save(path)
    return path


@pytest.mark.parametrize(
    "name, change",
    [
        ("support.weak.images", lambda tensor: tensor[:0]),
        ("support.weak.images", lambda tensor: tensor.repeat(WEAK // 4 + 1, 1, 1, 1)),
        ("support.weak.images", lambda tensor: tensor[..., :16].contiguous()),
        ("support.weak.images", lambda tensor: None),
        ("support.weak.labelled", lambda tensor: tensor[:2]),
        ("support.weak.landmarks", lambda tensor: tensor + 1000),
        ("support.weak.landmarks", lambda tensor: tensor * float("nan")),
        ("support.weak.scale", lambda tensor: -tensor),
        ("support.weak.area", lambda tensor: None),
        ("support.weak.more", lambda tensor: torch.zeros(3)),
    ],
)
def test_crops_of_wrong_kinds_are_one_line(taught, tmp_path, name, change):
    refused_with(taught, tmp_path, name, change)


def test_more_crops_than_are_written_are_refused(taught, tmp_path):
    path, tensors = tmp_path / "model.safetensors", load_file(taught)
    for name, tensor in tensors.items():
        if name.startswith("support.weak."):
            times = WEAK // len(tensor) + 1
            tensors[name] = tensor.repeat(times, *[1] * (tensor.ndim - 1))
    path.write_bytes(save(tensors, {HEADER: json.dumps(said(taught))}))
    assert str(WEAK) in refused(path)


def test_weak_labels_of_a_learner_that_takes_none_are_refused(taught, tmp_path):
    path, header = tmp_path / "model.safetensors", said(taught)
    header["learner"], header["settings"] = "RIDGE", {}
    path.write_bytes(save(load_file(taught), {HEADER: json.dumps(header)}))
    assert "RIDGE" in refused(path)
