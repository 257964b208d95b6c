"""Weak labels: where a landmark gets one, what it teaches, and how it is judged."""

from dataclasses import replace
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from baselines.untrained import clm
from baselines.untrained.cells import Cells, Components, encode
from baselines.untrained.ridge import ridge
from baselines.untrained.weak import NEAR, likeness, weak_cells, weak_labels
from fewshot_landmarks.heatmaps import decode
from tests.maths.test_untrained import as_they_are, build, photos, random_samples, scattered

SIDE = 56  # cells: of a pixel each


def peaks(places) -> torch.Tensor:
    """Heatmaps (1, N, SIDE, SIDE) with a peak in a cell x, y of each."""
    maps = torch.zeros(1, len(places), SIDE, SIDE)
    for i, (x, y) in enumerate(places):
        maps[0, i, y, x] = 1
    return maps


def detector(ridges, nearests, combined, known):
    """One whose parts find landmarks in given cells; the ridge regression's are the features."""
    n = len(known)
    return SimpleNamespace(
        looks=torch.cat([torch.eye(n), torch.zeros(n, 1)], 1),
        exemplars=Exemplars(peaks(nearests), torch.tensor(known)),
        parts=lambda features, one: SimpleNamespace(combined=lambda weights: peaks(combined)),
        weights=None,
    ), [peaks(ridges)[0]]


class Exemplars(SimpleNamespace):
    def __init__(self, maps, known):
        super().__init__(maps=maps, known=known)

    def __call__(self, features):
        return self.maps


def test_landmarks_are_labelled_where_all_ways_to_find_them_agree():
    all_agree, ridge_off, nearest_off, both_off, unknown = range(5)  # and four more that agree
    found = [(20, 20)] * 9
    ridges = [(21, 20), (40, 20), (20, 20), (40, 40), (20, 20)] + [(20, 20)] * 4
    nearests = [(20, 18), (20, 20), (20, 40), (40, 40), (20, 20)] + [(20, 20)] * 4
    crops = replace(random_samples(1, 9, SIDE), labelled=torch.ones(1, 9, dtype=torch.bool))
    finds, features = detector(ridges, nearests, found, [True] * 4 + [False] + [True] * 4)
    weak = weak_labels(finds, crops, features)
    assert weak.labelled.tolist() == [[True] + [False] * 4 + [True] * 4]
    assert torch.equal(weak.scored, weak.labelled) and torch.equal(weak.images, crops.images)
    assert torch.equal(weak.landmarks[0, all_agree], decode(peaks(found), SIDE)[0, all_agree])


def test_places_agree_up_to_three_of_56_cells():
    assert round(NEAR * SIDE) == 3
    found, ridges = [(20, 20)] * 3, [(22, 21), (23, 22), (20, 20)]
    finds, features = detector(ridges, found, found, [True] * 3)
    weak = weak_labels(finds, random_samples(1, 3, SIDE), features)
    assert weak.labelled.tolist() == [[True, False, True]]


def test_a_crop_in_which_few_landmarks_are_sure_has_no_label():
    off, on = (40, 40), (20, 20)
    for ridges, known, wanted in (
        ([on, on, off, off], [True] * 4, [False] * 4),  # half of them
        ([on, on, off, off], [True] * 3 + [False], [True, True, False, False]),
        ([on, on, on, off], [True] * 4, [True, True, True, False]),
    ):
        finds, features = detector(ridges, [on] * 4, [on] * 4, known)
        weak = weak_labels(finds, random_samples(1, 4, SIDE), features)
        assert weak.labelled.tolist() == [wanted]


def test_cells_of_weak_labels_are_those_of_labels_without_copies():
    samples = random_samples(3, size=32)
    samples.labelled[1] = False
    features = torch.randn(3, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = as_they_are(features)
    wanted = [Cells.of(samples[[i]], features[[i]], plain) for i in (0, 2)]
    found = weak_cells(samples, list(features))
    assert len(found) == 2
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one.gram, other.gram)
        torch.testing.assert_close(one.products, other.products)


def test_likeness_is_the_mean_cosine_of_cells():
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 8, 4, 4, generator=draw), torch.randn(3, 8, 4, 4, generator=draw)
    wanted = F.cosine_similarity(one[:, None], other[None], dim=2).mean((-1, -2))
    torch.testing.assert_close(likeness(list(one), list(other)), wanted)


class Labels:
    """Stands for `weak_labels`: gives given labels, and notes which crops were asked."""

    def __init__(self, monkeypatch):
        self.asked: list[list[int]] = []
        monkeypatch.setattr(clm, "weak_labels", self)

    def __call__(self, detector, crops, features):
        self.asked.append(crops.indices.tolist())
        return crops


def apart(monkeypatch):
    """Crops are of one moment where they are the same, whatever features a toy network has."""
    monkeypatch.setattr(clm, "ALIKE", 1 - 1e-4)


def test_what_is_left_out_has_no_part_in_what_it_is_judged_by(monkeypatch):
    """Crops of its moment make no labels then, and wrong labels of them do not show there."""
    apart(monkeypatch)
    labels = Labels(monkeypatch)
    support = photos(scattered(4), 0.2)
    crops = replace(
        support[[1, 3]],
        landmarks=support.landmarks[[1, 3]].flip(1),
        indices=torch.tensor([1, 3]),
    )
    with torch.no_grad():
        taught = build("CLM").teach(support, crops)
    assert labels.asked == [[1, 3], [3], [1, 3], [1], [1, 3]]  # without 0, 1, 2, 3, and the whole
    assert taught.without.shape == taught.taught.shape == (4, 3)
    assert not torch.equal(taught.taught, taught.without)


def test_errors_without_are_those_that_adapt_tells(monkeypatch):
    apart(monkeypatch)
    Labels(monkeypatch)
    support, model = photos(scattered(5), 0.2), build("CLM")
    crops = photos(scattered(2, seed=1), 0.2, seed=1)
    with torch.no_grad():
        taught = model.teach(support, crops)
        alone = model.adapt(support).left_out
    wanted = alone.clamp(max=clm.WORST)
    assert len(taught.weak) == 2
    found = {tuple(row) for row in taught.without.tolist()}
    assert found == {tuple(row) for row in wanted.tolist()}


def test_errors_with_labels_are_of_regressions_that_learn_them(monkeypatch):
    """Of a photo left out by hand."""
    apart(monkeypatch)
    Labels(monkeypatch)
    support, model = photos(scattered(3), 0.2), build("CLM")
    crops = photos(scattered(3, seed=1), 0.2, seed=1)
    with torch.no_grad():
        taught = model.teach(support, crops)
        components, cells = encode(support, model.base_features)
        weights = model.adapt(support).weights
        left_out = clm.groups(cells)[0]
        kept = [k for k in range(3) if k not in left_out]
        other = model._of(support[kept], [cells[k] for k in kept], components)
        features = [components(model.base_features(crops.images[[i]]))[0] for i in range(3)]
        more = [
            Cells.of(
                crops[[i]], each[None], Components(torch.zeros(len(each)), torch.eye(len(each)))
            )
            for i, each in enumerate(features)
        ]
        other.looks = ridge([*(cells[k] for k in kept), *more], model.settings.ridge)
        other.weights = weights
        places = decode(other.of(support[left_out]), 48)
    off = (places - support.landmarks[left_out]).norm(dim=-1) / 48
    torch.testing.assert_close(taught.taught[: len(left_out)], off.clamp(max=clm.WORST))


def test_one_photo_tells_nothing_of_weak_labels():
    with torch.no_grad():
        taught = build("CLM").teach(photos(scattered(1)), photos(scattered(2, seed=1)))
    assert taught.without.shape == taught.taught.shape == (0, 3)


def test_what_parts_weigh_is_the_supports_alone():
    support, crops = photos(scattered(4), 0.2), photos(scattered(3, seed=1), 0.2, seed=1)
    model = build("CLM")
    with torch.no_grad():
        plain, taught = model.adapt(support), model.adapt_with(support, crops)
    assert torch.equal(plain.weights, taught.weights)
    assert torch.equal(plain.left_out, taught.left_out) and plain.likeness == taught.likeness
    assert not torch.equal(plain.looks, taught.looks)
    assert torch.equal(plain.exemplars.features, taught.exemplars.features)
