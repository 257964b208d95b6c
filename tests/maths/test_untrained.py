"""Closed forms on frozen features, each against its definition written out, and the learner of all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from baselines.untrained import cells as cells_module
from baselines.untrained import clm
from baselines.untrained.cells import Cells, Components, centres, encode, standardised
from baselines.untrained.copies import EACH, MOST, with_copies
from baselines.untrained.nearest import Exemplars
from baselines.untrained.place import ALONE, LEAST, OBJECTS, Place, shrunk, student
from baselines.untrained.ridge import regress, ridge
from fewshot_landmarks.heatmaps import decode, heatmap_loss
from fewshot_landmarks.learner import find_learner, heatmaps_of
from fewshot_landmarks.protocol import UNTRAINED
from tests.toy import batch, blobs, toy_base, toy_task


def random_samples(k=3, n=4, size=32, hidden=0.0):
    """K crops of noise with N landmarks each."""
    draw = torch.Generator().manual_seed(0)
    landmarks = 2 + torch.rand(k, n, 2, generator=draw) * (size - 4)
    images = torch.rand(k, 3, size, size, generator=draw)
    return batch(images, landmarks, torch.rand(k, n, generator=draw) >= hidden)


def random_cells(samples, channels=5, stride=4, dtype=torch.float32):
    """The cells of crops without copies, of random features (K, C, h, w), and these."""
    side = samples.size // stride
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(len(samples), channels, side, side, generator=draw).to(dtype)
    plain = as_they_are(features)
    return [Cells.of(samples[[i]], features[[i]], plain) for i in range(len(samples))], features


def as_they_are(features):
    """Components that are the features themselves."""
    channels = features.shape[1]
    return Components(torch.zeros(channels).to(features), torch.eye(channels).to(features))


def build(name, **settings):
    learner = find_learner(name)
    return learner(toy_base(), learner.Settings(**settings)).eval()


# ------------------------------------------------------------------------------- copies


def test_landmarks_of_copies_move_with_their_pixels():
    points = torch.tensor([[[20.0, 24.0], [44.0, 18.5], [30.0, 47.0]]])
    copies = with_copies(batch(blobs(points, 64), points), 0, seed=0)
    assert len(copies) == 1 + EACH and torch.equal(copies.landmarks[0], points[0])
    moved = (copies.landmarks[1:] - points[0]).norm(dim=-1)
    assert moved.max() > 5
    for image, landmarks in zip(copies.images, copies.landmarks):
        for channel, point in zip(image, landmarks):  # a blob each
            bright = (channel - channel.median()).clamp(min=0.25) - 0.25
            place = (centres(64, (64, 64), points) * bright.flatten().unsqueeze(1)).sum(0)
            assert (place / bright.sum() - point).norm() < 0.3


def test_copies_are_relit_and_stay_images():
    one = with_copies(random_samples(1), 0, seed=0).images
    assert torch.equal(one[0], random_samples(1).images[0])
    assert one.min() >= 0 and one.max() <= 1
    assert len({round(float(image.mean()), 3) for image in one}) == 1 + EACH


def test_copies_are_labelled_only_inside():
    points = torch.tensor([[[0.5, 0.5], [16.0, 16.0], [31.5, 31.5], [16.0, 20.0]]])
    labelled = torch.tensor([[True, True, True, False]])
    copies = with_copies(batch(torch.rand(1, 3, 32, 32), points, labelled), 0, seed=0)
    inside = ((copies.landmarks >= 0) & (copies.landmarks < 32)).all(-1)
    assert torch.equal(copies.labelled, inside & labelled)
    assert not copies.labelled.all(0)[0] and copies.labelled[:, 1].all()


def test_a_crops_copies_do_not_depend_on_the_other_crops():
    samples = random_samples(3)
    other = replace(samples, images=torch.rand_like(samples.images))
    other.images[1] = samples.images[1]
    found, again = with_copies(samples, 1, seed=0), with_copies(other, 1, seed=0)
    assert torch.equal(found.images, again.images)
    assert torch.equal(found.landmarks, again.landmarks)
    assert not torch.equal(with_copies(samples, 1, seed=1).landmarks, found.landmarks)
    for many in (20, 40, 200):  # fewer copies, so that there is an end to them
        assert len(with_copies(random_samples(many, size=8), 1, 0)) == max(1, MOST // many)


# -------------------------------------------------------------------------- features, cells


def test_components_are_those_of_numpy():
    features = torch.randn(4, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    found = Components.of(features)
    rows = features[..., ::3, ::3].movedim(1, -1).reshape(-1, 6).numpy()
    vectors = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2]
    ours = found.vectors.T.flip(0).numpy()  # the largest first, of either sign
    np.testing.assert_allclose(np.abs((ours * vectors).sum(1)), 1, atol=1e-4)
    x = features[2, :, 5, 7].numpy()
    np.testing.assert_allclose(
        found(features)[2, :, 5, 7], found.vectors.T.numpy() @ (x - rows.mean(0)), atol=1e-5
    )


def test_fewer_components_keep_those_that_vary_most(monkeypatch):
    monkeypatch.setattr(cells_module, "DIMENSIONS", 2)
    features = torch.randn(2, 4, 9, 9) * torch.tensor([0.1, 3.0, 0.2, 5.0]).view(4, 1, 1)
    kept = Components.of(features).vectors
    assert kept.shape == (4, 2) and kept[[1, 3]].norm() > 0.99 * math.sqrt(2)


def weights_by_hand(samples, i, side):
    """Of the cells of one crop, as `cells` says: 20 times more at a landmark, others thinned."""
    weight = np.zeros((side, side))
    cell = samples.size / side
    for row in range(side):
        for column in range(side):
            centre = (np.array([column, row]) + 0.5) * cell
            off = [((centre - p.numpy()) ** 2).sum() for p, known in
                   zip(samples.landmarks[i], samples.labelled[i]) if known]  # fmt: skip
            near = 1 + 20 * max(
                (math.exp(-each / (2 * (3 * cell) ** 2)) for each in off), default=0
            )
            kept = row % 2 == 0 and column % 2 == 0
            weight[row, column] = near if near > 2 else 4 * near * kept
    return weight.ravel()


def targets_by_hand(samples, i, side):
    cell = samples.size / side
    centre = (np.stack(np.meshgrid(*[np.arange(side)] * 2), -1).reshape(-1, 2) + 0.5) * cell
    squares = ((centre[:, None] - samples.landmarks[i].numpy()) ** 2).sum(-1)
    return np.exp(-squares / (2 * (1.5 * cell) ** 2)) * samples.labelled[i].numpy()


def test_ridge_solves_the_weighted_normal_equations():
    samples = random_samples(3, 4, size=64)
    samples.labelled[:, 2] = torch.tensor([True, False, True])  # an equation of its own
    samples.labelled[:, 3] = False
    cells, features = random_cells(samples)
    found = ridge(cells, 0.1)
    for n, crops in enumerate(([0, 1, 2], [0, 1, 2], [0, 2])):
        rows, targets, weights = [], [], []
        for i in crops:
            x = features[i].flatten(1).T.numpy()
            rows.append(np.concatenate([x, np.ones((256, 1))], 1))
            targets.append(targets_by_hand(samples, i, 16)[:, n])
            weights.append(weights_by_hand(samples, i, 16))
        x, y, w = (np.concatenate(each).astype(np.float64) for each in (rows, targets, weights))
        gram = (x.T * w) @ x
        penalty = 0.1 * np.diag(gram).mean() * np.eye(6)
        np.testing.assert_allclose(
            found[n], np.linalg.solve(gram + penalty, (x.T * w) @ y), rtol=1e-3, atol=1e-5
        )
    assert not found[3].any()
    heatmap = regress(features, found)[1, 0, 3, 5]
    expected = features[1, :, 3, 5] @ found[0, :-1] + found[0, -1]
    torch.testing.assert_close(heatmap, expected)


def test_features_between_cells_are_bilinear_and_go_on_beyond_the_edge():
    samples = random_samples(1, 3, size=16)
    samples.landmarks[0] = torch.tensor([[6.0, 10.0], [8.0, 6.0], [0.5, 14.0]])
    cells, features = random_cells(samples)
    points, map_ = cells[0].points[0], features[0]
    torch.testing.assert_close(points[0], map_[:, 2, 1])  # a cell's centre
    torch.testing.assert_close(points[1], (map_[:, 1, 1] + map_[:, 1, 2]) / 2)
    torch.testing.assert_close(points[2], map_[:, 3, 0])


def test_standardised_maps_have_mean_0_and_deviation_1():
    maps = standardised(3 * torch.randn(2, 3, 6, 6) + 1)
    torch.testing.assert_close(maps.mean((2, 3)), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps.flatten(2).std(-1), torch.ones(2, 3))
    assert not standardised(torch.ones(1, 1, 4, 4)).any()  # and not NaN


# -------------------------------------------------------------------------------- nearest


def with_gram(cells, covariance):
    """The same cells, whose features have mean 0 and this covariance."""
    d = len(covariance)
    gram = torch.eye(d + 1, dtype=torch.float64)
    gram[:d, :d] = covariance
    return [replace(each, gram=gram / len(cells)) for each in cells]


def test_whitening_is_none_where_features_are_white():
    """A likeness is then the cosine to the most similar of a landmark's support features."""
    samples = random_samples(2, 3)
    samples.labelled[:, 1] = torch.tensor([False, True])
    samples.labelled[:, 2] = False
    cells, features = random_cells(samples)
    found = Exemplars.of(with_gram(cells, 7.0 * torch.eye(5, dtype=torch.float64)), 3.0)
    scale = found.whitening[0, 0]
    torch.testing.assert_close(found.whitening, scale * torch.eye(5), atol=1e-6, rtol=1e-5)
    likeness = found(features)
    assert torch.equal(found.known, torch.tensor([True, True, False]))
    for n, crops in enumerate(([0, 1], [1])):
        each = [
            F.cosine_similarity(features, cells[k].points[0, n].view(1, -1, 1, 1), dim=1)
            for k in crops
        ]
        torch.testing.assert_close(likeness[:, n], torch.stack(each).amax(0), atol=1e-5, rtol=0)
    assert not likeness[:, 2].any()


def test_whitening_by_hand():
    cells, _ = random_cells(random_samples(1))
    covariance = torch.diag(torch.tensor([1.0, 4.0, 0.0, 9.0, 1.0], dtype=torch.float64))
    found = Exemplars.of(with_gram(cells, covariance), 3.0)
    expected = (covariance.diagonal() + 3.0 * 3.0) ** -0.5  # the mean eigenvalue is 3
    torch.testing.assert_close(found.whitening, torch.diag(expected).float())


def test_the_mean_that_is_taken_off_is_that_of_all_weighted_cells():
    samples = random_samples(2, 3, size=64)
    cells, features = random_cells(samples)
    weights = np.concatenate([weights_by_hand(samples, i, 16) for i in range(2)])
    rows = features.flatten(2).transpose(1, 2).reshape(-1, 5).numpy()
    expected = (rows * weights[:, None]).sum(0) / weights.sum()
    np.testing.assert_allclose(Exemplars.of(cells, 3.0).mean, expected, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------------- place


def test_a_place_is_a_students_t_in_the_box():
    samples = random_samples(4, 3)
    boxes = torch.tensor([[2.0, 4.0, 30.0, 24.0], [0.0, 0.0, 32.0, 32.0], [5.0, 1.0, 25.0, 31.0],
                          [-4.0, 8.0, 36.0, 28.0]])  # fmt: skip
    samples = replace(samples, box=boxes)
    samples.labelled[:, 1] = torch.tensor([True, False, False, False])
    place = Place.of(samples)
    places = (
        (samples.landmarks - boxes[:, None, :2]) / (boxes[:, 2:] - boxes[:, :2])[:, None]
    ).numpy()
    means = np.stack([places[:, 0].mean(0), places[0, 1], places[:, 2].mean(0)])
    np.testing.assert_allclose(place.mean, means, rtol=1e-5)
    sums = [((places[:, n] - means[n]) ** 2).sum() / 2 for n in (0, 2)]  # of one coordinate
    pooled = sum(sums) / 6
    shown = [(sums[0] + 3 * pooled) / 6, pooled, (sums[1] + 3 * pooled) / 6]
    known = np.array([1 + 1 / 4, 1 + 1, 1 + 1 / 4])  # and the mean is not known exactly
    np.testing.assert_allclose(place.deviation, np.sqrt(shown * known + 0.03**2), rtol=1e-5)
    query = samples[[3]]
    density = place(query, (16, 16))[0, 2, 5, 9]
    centre = (np.array([(9.5 * 2 + 4) / 40, (5.5 * 2 - 8) / 20]) - means[2]) / float(
        place.deviation[2]
    )
    t = stats.t(df=OBJECTS + 3)
    assert density.item() == pytest.approx(t.logpdf(np.linalg.norm(centre)) - t.logpdf(0), rel=1e-4)


def test_student_against_scipy():
    squares, deviation = (
        torch.tensor([[0.0, 1.0, 9.0], [0.0, 0.25, 100.0]]),
        torch.tensor([1.0, 3.0]),
    )
    for freedom in (3.0, 7.5):
        t = stats.t(df=freedom, scale=deviation[:, None].numpy())
        expected = t.logpdf(squares.sqrt().numpy()) - t.logpdf(0)
        np.testing.assert_allclose(student(squares, deviation, freedom), expected, rtol=1e-5)


def test_one_object_says_where_but_not_how_surely():
    place = Place.of(random_samples(1, 3))
    expected = math.sqrt(2 * ALONE**2 + LEAST**2)
    torch.testing.assert_close(place.deviation, torch.full((3,), expected))
    squares, count = torch.tensor([4.0, 0.0]), torch.tensor([5.0, 1.0])
    torch.testing.assert_close(shrunk(squares, count, 9.0), torch.tensor([1.0, 1.0]))


def test_place_answers_with_the_mean_position_whatever_the_image():
    task = toy_task(9, shots=3, hidden=0.0)
    detector = build("PLACE").adapt(task.support)
    mean = task.support.landmarks.mean(0)
    found = decode(heatmaps_of(detector, task.query), 16)
    cell = 16 / heatmaps_of(detector, task.query).shape[-1]
    assert (found - mean).abs().max() <= cell / 2
    dark = replace(task.query, images=torch.zeros_like(task.query.images))
    assert torch.equal(heatmaps_of(detector, dark), heatmaps_of(detector, task.query))


# --------------------------------------------------------------- what tasks may teach


@pytest.mark.parametrize("part", ["ridge", "nearest", "place", "all"])
def test_a_querys_loss_teaches_features_and_weights(part):
    """The gradient through a closed form is that of finite differences, to features and weights."""
    torch.manual_seed(0)
    samples = random_samples(3, 3, size=32)
    samples = replace(samples, images=samples.images.double(), landmarks=samples.landmarks.double(),
                      box=samples.box.double())  # fmt: skip
    support, query = samples[:2], samples[2:]
    conv = torch.nn.Conv2d(3, 4, 4, 4).double()
    weights = torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64, requires_grad=True)

    def loss(kernel, weights):
        features = F.conv2d(samples.images, kernel, conv.bias, 4).tanh()
        cells = [Cells.of(support[[i]], features[[i]], as_they_are(features)) for i in range(2)]
        parts = {
            "ridge": regress(features[2:], ridge(cells, 0.1)),
            "nearest": Exemplars.of(cells, 3.0)(features[2:]),
            "place": Place.of(support)(query, (8, 8)),
        }
        maps = [standardised(each) for name, each in parts.items() if part in (name, "all")]
        heatmaps = sum(w * each for w, each in zip(weights, maps))
        return heatmap_loss(heatmaps, query.landmarks, query.size, query.labelled)

    kernel = conv.weight.detach().requires_grad_()
    grads = torch.autograd.grad(loss(kernel, weights), (kernel, weights), allow_unused=True)
    if part != "place":  # which looks at no image
        assert grads[0].abs().max() > 1e-4
        direction = torch.randn_like(kernel)
        with torch.no_grad():
            ahead, behind = (loss(kernel + step * direction, weights) for step in (1e-5, -1e-5))
        slope = (grads[0] * direction).sum().item()
        assert slope == pytest.approx((ahead - behind).item() / 2e-5, rel=1e-3, abs=1e-7)
    step = torch.tensor([1e-5, 2e-5, -1e-5], dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (loss(kernel, weights + sign * step) for sign in (1, -1))
    slope = (grads[1] * step).sum().item()
    assert slope == pytest.approx((ahead - behind).item() / 2, rel=1e-4, abs=1e-12)


# ------------------------------------------------------------------------------------ CLM


def test_folds_leave_out_each_moment_and_then_pairs():
    for moments in ([[0]], [[0], [1]], [[0], [1, 3], [2]], [[i] for i in range(20)]):
        count, k = sum(map(len, moments)), len(moments)
        found = list(clm.folds(moments))
        assert all(sorted(kept + out) == list(range(count)) and kept for kept, out in found)
        alone = [out for _, out in found if out in moments]
        pairs = [tuple(out) for _, out in found if out not in moments]
        assert alone == (moments[: clm.FOLDS] if k > 1 else [])
        assert len(set(pairs)) == len(pairs) == (min(math.comb(k, 2), clm.FOLDS) if k > 2 else 0)
        assert all(
            set(one) <= set(pair) or not set(one) & set(pair) for one in moments for pair in pairs
        )
        assert found == list(clm.folds(moments))


def test_crops_of_one_moment_are_told_by_their_features():
    features = torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    features[3] = 3 * features[1] + 0.1 * features[2]
    features[4] = features[3]
    samples = random_samples(5, size=24)

    def grouped(features):
        return clm.groups([
            Cells.of(samples[[i]], features[[i]], as_they_are(features)) for i in range(len(features))
        ])  # fmt: skip

    assert grouped(features) == [[0], [1, 3, 4], [2]]
    assert grouped(features[:1].expand(3, -1, -1, -1)) == [[0], [1], [2]]  # all alike
    assert grouped(features[:1]) == [[0]]


def photos(places, noise=0.0, seed=0):
    """Crops with a blob of its own colour at each of 3 landmarks, and noise."""
    points = torch.tensor(places, dtype=torch.float32)
    images = blobs(points, 48, sigma=3.0)
    draw = torch.Generator().manual_seed(seed)
    return batch(images + noise * torch.rand(images.shape, generator=draw), points)


def scattered(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return (6 + 36 * torch.rand(count, 3, 2, generator=draw)).tolist()


FIXED_PLACES = [[12.0, 14.0], [36.0, 16.0], [22.0, 36.0]]


def test_the_mean_position_is_chosen_where_images_are_noise():
    support = photos([FIXED_PLACES] * 6)
    support = replace(support, images=torch.rand(support.images.shape))
    detector = build("CLM").adapt(support)
    look, place, _ = detector.weights
    assert place > 1.9 * look
    query = replace(photos([FIXED_PLACES] * 3), images=torch.rand(3, 3, 48, 48))
    found = decode(heatmaps_of(detector, query), 48)
    assert (found - query.landmarks).norm(dim=-1).max() < 4


def test_the_look_is_chosen_where_places_are_random():
    support, query = photos(scattered(6), 0.2), photos(scattered(4, seed=1), 0.2, seed=1)
    torch.manual_seed(0)  # of the network
    detector = build("CLM").adapt(support)
    assert detector.weights[0] > 0.95
    found, control = (
        (decode(heatmaps_of(each, query), 48) - query.landmarks).norm(dim=-1).mean()
        for each in (detector, build("PLACE").adapt(support))
    )
    assert found < 0.75 * control
    assert detector.left_out.shape == (6, 3)


def test_errors_of_photos_left_out_are_of_detectors_without_them():
    """The photo left out is searched by what the others alone teach, but for the components."""
    support = photos(scattered(3), 0.2)
    model = build("CLM")
    detector = model.adapt(support)
    components, cells = encode(support, model.base_features)
    for k in range(3):
        kept = [i for i in range(3) if i != k]
        other = model._of(support[kept], [cells[i] for i in kept], components)
        other.weights = detector.weights
        found = other.of(support[[k]])
        off = (decode(found, 48) - support.landmarks[[k]]).norm(dim=-1)[0] / 48
        torch.testing.assert_close(detector.left_out[k], off)


def test_with_one_photo_weights_are_fixed():
    detector = build("CLM").adapt(photos([FIXED_PLACES]))
    assert detector.weights.tolist() == list(clm.FIXED) and detector.left_out is None


def test_photos_that_share_no_landmark_choose_nothing():
    support = photos([FIXED_PLACES] * 2)
    support.labelled[:] = torch.tensor([[True, True, False], [False, False, True]])
    detector = build("CLM").adapt(support)
    assert detector.weights.tolist() == list(clm.FIXED)
    assert detector.left_out.isnan().all()
    assert detector.of(support).isfinite().all()


def test_a_landmark_unlabelled_in_a_photo_left_out_counts_nothing():
    support = photos(scattered(4), 0.2)
    support.labelled[1, 2] = False
    found = build("CLM").adapt(support).left_out
    assert found.isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("name", UNTRAINED)
def test_answers_do_not_depend_on_how_often_and_with_what_one_asks(name):
    support, query = photos(scattered(4), 0.2), photos(scattered(5, seed=1), 0.2, seed=1)
    first, second = build(name), build(name)
    detector = first.adapt(support)
    found = heatmaps_of(detector, query)
    assert torch.equal(found, heatmaps_of(detector, query))
    assert torch.equal(found, heatmaps_of(second.adapt(support), query))
    each = torch.cat([heatmaps_of(detector, query[[i]]) for i in range(5)])
    assert torch.equal(decode(each, 48), decode(found, 48))
    torch.testing.assert_close(each, found)
