"""Every learner on tasks of 8 and 39 landmarks, and each one's own equation."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from baselines.maml import mean_of_slots
from baselines.proto import nearness, prototypes
from baselines.wg import WG
from benchmarks.presets import PRESETS
from fewshot_landmarks.evaluation import evaluate_episode
from fewshot_landmarks.heatmaps import decode, labelmaps
from fewshot_landmarks.learner import (
    REGISTRY,
    SamplesDetector,
    find_learner,
    fits,
    heatmaps_of,
)
from fewshot_landmarks.protocol import BENCHMARKS, UNTRAINED
from fewshot_landmarks.samples import Task
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import Training
from tests.toy import ToyGarments, toy_base, toy_task, toy_tasks


def build(name: str, seen=(7, 9), **settings):
    learner = find_learner(name)
    base = toy_base(seen, kind=learner.base_kind)
    torch.manual_seed(1)
    return learner(base, learner.Settings(**settings))


def short(name: str) -> dict:
    """Settings with two tasks in every stage."""
    known = find_learner(name).Settings.__dataclass_fields__
    return {field: 2 for field in known if field.endswith("tasks")}


def values(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_learner_fits_and_adapts(name):
    model = build(name, **short(name))
    base = values(model.base)
    model.fit(Training(toy_tasks()))
    assert same(values(model.base), base)  # theta0 and omega0 are everybody's
    fitted = values(model)
    for unseen in (9, 4):  # 8 and 39 landmarks
        task = toy_task(unseen, shots=3)
        with torch.no_grad():
            heatmaps = heatmaps_of(model.adapt(task.support), task.query)
            again = heatmaps_of(model.adapt(task.support), task.query)
        assert heatmaps.shape[:2] == (2, task.landmarks)
        assert heatmaps.isfinite().all()
        assert torch.equal(heatmaps, again)  # adapt is pure
        detector = model.adapt(task.support)
        assert isinstance(detector, SamplesDetector) == model.says_densities
    assert same(values(model), fitted)


@pytest.mark.parametrize("name", REGISTRY)
def test_one_seen_category_is_enough(name):
    model = build(name, seen=(9,), **short(name))
    model.fit(Training(toy_tasks(categories=(9,))))
    task = toy_task(7, shots=3)
    with torch.no_grad():
        assert heatmaps_of(model.adapt(task.support), task.query).isfinite().all()
        if name == "WG-ATT":  # what was not there in training is not there in a test
            torch.testing.assert_close(
                model.generate(task.support), WG.generate(model, task.support)
            )


@pytest.mark.parametrize(
    "name", [n for n in REGISTRY if n not in ("Base-FEN_M", "LD-Keep_M", "FT", *UNTRAINED)]
)
def test_fitting_moves_what_the_learner_learns(name):
    model = build(name, **short(name))
    before = values(model)
    model.fit(Training(toy_tasks()))
    moved = {
        n.split(".")[0] for n, v in model.state_dict().items() if not torch.equal(v, before[n])
    }
    expected = {
        "MAML": {"model"},
        "WG": {"phi_avg", "scale"},
        "WG-ATT": {"phi_avg", "scale", "phi_att", "queries", "keys", "sharpness"},
        "PROTO": {"fenet", "log_scale"},
        "PROTO-MA": {"fenet", "log_scale"},
        "MRN": {"regression"},
        "PAML": {"model", "regression"},
        "MetaCloth": {"fenet"},  # phi is Base-FEN's
        "LD-Keep": {"fenet"},
        "Base-FEN": {"ppnet"},
        "CAPE": {"fenet", "log_scale", "head"},
        "RIDGE+": {"fenet", "log_ridge", "log_weights", "slopes"},
    }
    assert moved == expected[name]


@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_learners_have_nothing_to_fit(name):
    assert not fits(find_learner(name)) and find_learner(name).starts_from is None
    model = build(name)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_learners_draw_nothing(name):
    """So that the harness may take their errors as those of every training seed."""
    task, found = toy_task(9, shots=3), []
    for seed in (1, 2):
        model = build(name)
        torch.manual_seed(seed)
        found.append(evaluate_episode(model, task, 3).ne)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", REGISTRY)
def test_a_landmark_that_no_support_labels(name):
    model = build(name, **short(name))
    task = toy_task(9, shots=2)
    task.support.labelled[:, 3] = False
    task.query.scored[:, :5] = True
    if hasattr(model, "meta_loss") and name != "LD-Keep_M" and name != "Base-FEN_M":
        full = model.meta_loss(task)
        task.query.landmarks[:, 3] = 0.0  # its place in the query does not matter
        torch.testing.assert_close(model.meta_loss(task), full)
        assert full.isfinite()
    errors = evaluate_episode(model, task, 2)
    left_out = int((~task.support.labelled.any(0)).sum())
    assert errors.left_out == left_out >= 1
    assert math.isnan(errors.landmarks[3]) and math.isfinite(errors.ne)


def test_episode_error_by_hand():
    """A learner that always answers the crop's first cell, against distances worked by hand."""

    class Corner:
        def adapt(self, support):
            heatmap = torch.zeros(1, 1, 8, 8)
            heatmap[..., 0, 0] = 1.0  # centre at crop pixel (1, 1): photo (10 + 2, 20 + 3)
            return lambda images: heatmap.expand(len(images), 8, 8, 8)

    task = toy_task(9, shots=2, hidden=0.0)
    task.support.labelled[:, 1] = False
    task.query.scored[:] = False
    task.query.scored[0, 0] = task.query.scored[1, 1] = task.query.scored[1, 2] = True
    task.query.landmarks[0, 0] = torch.tensor([4.0, 5.0])  # photo (18, 35): 6, 12 away
    task.query.landmarks[1, 2] = torch.tensor([1.0, 2.0])  # photo (12, 26): 3 away
    errors = evaluate_episode(Corner(), task, 2)
    area = math.sqrt(16 * 16 * 6)
    assert errors.scored == 2 and errors.left_out == 1
    assert errors.ne == pytest.approx((math.hypot(6, 12) + 3) / 2 / area)
    assert errors.landmarks[2] == pytest.approx(3 / area)
    assert math.isnan(errors.landmarks[1]) and math.isnan(errors.landmarks[5])


def test_the_support_is_the_first_shots_alone():
    seen = []

    class Recorder:
        def adapt(self, support):
            seen.append(support.indices.tolist())
            return lambda images: torch.zeros(len(images), 8, 8, 8)

    task = toy_task(9, shots=5)
    for shots in (1, 3, 5):
        evaluate_episode(Recorder(), task, shots)
    assert seen == [[0], [0, 1, 2], [0, 1, 2, 3, 4]]


def test_a_diverged_learner_has_no_error_to_show():
    class Diverged:
        def adapt(self, support):
            return lambda images: torch.full((len(images), 8, 8, 8), float("nan"))

    errors = evaluate_episode(Diverged(), toy_task(9), 2)
    assert math.isnan(errors.ne) and errors.scored > 0


def test_proto_is_the_nearest_cell():
    torch.manual_seed(0)
    features, points = torch.randn(2, 3, 4, 4), torch.randn(5, 3)
    distance = (features.unsqueeze(1) - points.view(1, 5, 3, 1, 1)).square().sum(2)
    torch.testing.assert_close(nearness(features, points), -distance, rtol=1e-4, atol=1e-5)


def test_protos_loss_is_of_scaled_distances():
    """Cross-entropy of -s ||F - p||^2, written out; s is learnt, and starts as PROTO-MA's."""
    model, task = build("PROTO"), toy_task(9, shots=2, hidden=0.0)
    assert torch.equal(model.scale, build("PROTO-MA").scale)
    points = prototypes(model.fenet(task.support.images), task.support)
    features = model.fenet(task.query.images)
    distance = (features.unsqueeze(1) - points[:, :, None, None]).square().sum(2)
    maps = labelmaps(task.query.landmarks, task.query.size, features.shape[-2:]).flatten(2)
    by_hand = -((-model.scale * distance).flatten(2).log_softmax(-1) * maps).sum(-1)
    expected = by_hand[task.query.labelled].mean()
    torch.testing.assert_close(model.meta_loss(task), expected, rtol=1e-4, atol=1e-5)
    model.meta_loss(task).backward()
    assert model.log_scale.grad.abs() > 0


def test_proto_ma_starts_as_proto():
    task = toy_task(4, shots=2)
    proto, proto_ma = build("PROTO"), build("PROTO-MA", inner_steps=0)
    with torch.no_grad():
        one = proto_ma.scale * proto.adapt(task.support)(task.query.images)
        other = proto_ma.adapt(task.support)(task.query.images)
    torch.testing.assert_close(
        one.flatten(2).softmax(-1), other.flatten(2).softmax(-1), rtol=1e-3, atol=1e-6
    )
    omega = 2 * proto_ma.scale * prototypes(proto_ma.fenet(task.support.images), task.support)
    lengths = omega[task.learnable()].norm(dim=1)
    assert lengths.mean() <= proto_ma.base.omega.norm(dim=1).mean() * 1.001


def test_maml_slots():
    given = toy_task(9).support
    maml = build("MAML")
    support = maml.expand(given)
    assert support.landmarks.shape[1] == support.labelled.shape[1] == 39
    assert torch.equal(support.landmarks[:, 8], given.landmarks[:, 0])
    assert torch.equal(maml.expand(support).landmarks, support.landmarks)
    heatmaps = torch.randn(2, 39, 3, 3)
    mean = mean_of_slots(heatmaps, 8)
    by_hand = heatmaps[:, [7, 15, 23, 31]].flatten(2).softmax(-1).mean(1).view(2, 3, 3)
    torch.testing.assert_close(mean[:, 7], by_hand)


def test_wg_by_hand():
    model, task = build("WG"), toy_task(9, shots=2, hidden=0.0)
    model.phi_avg.data = torch.tensor([1.0, 2.0, -1.0, 0.5])
    cloth = F.normalize(model.base.fenet(task.support.images), dim=1)
    maps = labelmaps(task.support.landmarks, 16, cloth.shape[-2:])
    row, column = divmod(int(maps[1, 2].flatten().argmax()), cloth.shape[-1])
    other_row, other_column = divmod(int(maps[0, 2].flatten().argmax()), cloth.shape[-1])
    mean = (cloth[1, :, row, column] + cloth[0, :, other_row, other_column]) / 2
    torch.testing.assert_close(model.generate(task.support)[2], model.phi_avg * mean)
    query = model.base.fenet(task.query.images)
    heatmaps = model.adapt(task.support)(task.query.images)
    expected = model.scale * F.cosine_similarity(query[1], (model.phi_avg * mean)[:, None, None], 0)
    torch.testing.assert_close(heatmaps[1, 2], expected, rtol=1e-4, atol=1e-5)


def test_wg_att_leaves_its_own_category_out_in_training():
    model, task = build("WG-ATT"), toy_task(9, shots=2, hidden=0.0)
    before = model.attend(task.support, novel=9), model.attend(task.support, novel=None)
    model.keys.data[model.base.slots(9)] += torch.randn(8, 4)
    after = model.attend(task.support, novel=9), model.attend(task.support, novel=None)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    weights = F.normalize(model.base.omega[model.base.slots(7)], dim=-1)
    with torch.no_grad():
        model.sharpness.fill_(0.0)  # equal attention: the mean of the other category's detectors
        attended = model.attend(task.support, novel=9)
    torch.testing.assert_close(attended, weights.mean(0).expand(8, 4))


def test_wg_att_by_hand():
    model, task = build("WG-ATT"), toy_task(9, shots=3)
    task.support.labelled[:, 5] = torch.tensor([True, False, True])
    with torch.no_grad():
        for parameter in (model.phi_att, model.phi_avg, model.queries.weight, model.keys):
            parameter.copy_(torch.randn_like(parameter))
        cloth = F.normalize(model.base.fenet(task.support.images), dim=1)
        maps = labelmaps(task.support.landmarks, 16, cloth.shape[-2:])
        attended = []
        for image in (0, 2):
            row, column = divmod(int(maps[image, 5].flatten().argmax()), cloth.shape[-1])
            query = F.normalize(model.queries.weight @ cloth[image, :, row, column], dim=0)
            scores = torch.stack([query @ F.normalize(key, dim=0) for key in model.keys])
            weights = (model.sharpness * scores).softmax(0)
            attended.append(
                sum(w * F.normalize(v, dim=0) for w, v in zip(weights, model.base.omega))
            )
        w_att = (attended[0] + attended[1]) / 2
        expected = model.phi_avg * model.mean_features(task.support)[5] + model.phi_att * w_att
        torch.testing.assert_close(model.generate(task.support)[5], expected)


@pytest.mark.parametrize("name", ["MRN", "PAML"])
def test_mrn_and_paml_answer_with_transformed_detectors(name):
    model, task = build(name), toy_task(9)
    with torch.no_grad():
        before = model.adapt(task.support)(task.query.images)
        model.regression.layers[-1].bias += torch.randn(4)
        after = model.adapt(task.support)(task.query.images)
    if name == "MRN":  # H adds the bias to every detector: exactly this much of the features
        bias = model.regression.layers[-1].bias
        moved = torch.einsum("bchw,c->bhw", model.base.fenet(task.query.images), bias)
        torch.testing.assert_close(after - before, moved.unsqueeze(1).expand_as(before))
    assert not torch.allclose(before, after)


def test_mrn_and_paml_start_from_the_untransformed_detectors():
    task = toy_task(9)
    mrn = build("MRN")
    omega = mrn.few_shot_detectors(task.support)
    assert torch.equal(mrn.regression(omega), omega)
    with torch.no_grad():
        paml = build("PAML").adapt(task.support)(task.query.images)
        maml = build("MAML").adapt(task.support)(task.query.images)
    torch.testing.assert_close(paml, maml)


def test_mrns_few_shot_detectors_do_not_depend_on_how_many_there_are():
    model, support = build("MRN"), toy_task(9).support
    support.labelled[1:, 3] = False  # one image labels it
    alone = dataclasses.replace(
        support,
        landmarks=support.landmarks[:, [3, 5]],
        labelled=support.labelled[:, [3, 5]],
        scored=support.scored[:, [3, 5]],
    )
    found, expected = model.few_shot_detectors(support), model.few_shot_detectors(alone)
    torch.testing.assert_close(found[[3, 5]], expected)
    first = model.few_shot_detectors(alone[:1])
    torch.testing.assert_close(expected[0], first[0])
    assert not torch.allclose(expected[1], first[1], atol=1e-3)


def test_mrn_distance_by_hand():
    """With no weight on images, MRN's gradient is that of ||H(omega_K) - omega0||^2 alone."""
    model = build("MRN", regression_tasks=1, sample_weight=0.0, head_rate=0.0)
    training = Training(toy_tasks(shots=(3,)))
    model.fit(training)
    task = toy_tasks(shots=(3,))[0]
    learnt = task.learnable()
    gap = model.few_shot_detectors(task.support) - model.base.detectors(task.category)
    assert training.losses[0] == pytest.approx(gap[learnt].square().sum(1).mean().item(), rel=1e-5)


def test_metacloth_predicts_labelmaps_in_training_and_takes_true_ones_at_test():
    model, task = build("MetaCloth"), toy_task(9)
    cloth = model.base.fenet(task.support.images)
    maps = model.labelmaps_in_training(task, cloth)
    predicted = model.base.heatmaps(cloth, 9)
    torch.testing.assert_close(maps, (predicted == predicted.amax((2, 3), keepdim=True)).float())
    assert maps.sum((2, 3)).eq(1).all()
    truth = build("MetaCloth", predicted_labelmaps=False).labelmaps_in_training(task, cloth)
    assert truth.sum((2, 3)).eq(1).all() and truth.amax((2, 3)).eq(1).all()
    moved = Task(9, task.support, task.query)
    with torch.no_grad():
        before = model.adapt(task.support)(task.query.images)
        moved.support.landmarks[:] = (moved.support.landmarks + 5) % 15
        assert not torch.allclose(model.adapt(moved.support)(task.query.images), before)


def test_frozen_features_are_kept_until_the_network_changes():
    model, images = build("PROTO"), toy_task(9).query.images
    features = model.frozen(model.fenet)
    calls = []
    model.fenet.register_forward_hook(lambda *given: calls.append(1))
    first = features(images)
    assert torch.equal(features(images), first) and len(calls) == len(images)
    torch.testing.assert_close(first, model.fenet(images))
    with torch.no_grad():
        model.fenet.head.bias += 1.0
    torch.testing.assert_close(features(images), model.fenet(images))
    assert not torch.allclose(features(images), first)
    model.fenet.load_state_dict(build("PROTO").fenet.state_dict())
    torch.testing.assert_close(features(images), first)


def test_ablations_tune_as_metacloth_does():
    names = ("MetaCloth", "Base-FEN", "Base-FEN_M", "LD-Keep", "LD-Keep_M")
    for preset in PRESETS.values():
        for place in BENCHMARKS:
            assert len({preset.settings(find_learner(name), place) for name in names}) == 1


def test_ablations_share_what_they_share():
    learner = {name: find_learner(name) for name in REGISTRY}
    assert learner["MetaCloth"].starts_from is learner["Base-FEN"]
    assert learner["LD-Keep"].starts_from is learner["Base-FEN"]
    assert learner["Base-FEN_M"].starts_from is learner["Base-FEN"]
    assert learner["LD-Keep_M"].starts_from is learner["LD-Keep"]


def test_base_model_counts_only_the_own_category():
    base, garments = toy_base((7, 9)).requires_grad_(True), ToyGarments((7, 9), each=3)
    from fewshot_landmarks.samples import collate

    base.loss(collate([garments[3], garments[4]])).backward()  # two skirts
    assert not base.omega.grad[base.slots(7)].any()
    assert base.omega.grad[base.slots(9)].any()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_base_loss_of_a_mixed_batch_is_that_of_its_parts(kind):
    from fewshot_landmarks.heatmaps import support_loss
    from fewshot_landmarks.samples import collate

    base, garments = toy_base((7, 9), kind), ToyGarments((7, 9), each=3)
    mixed = base.loss(collate([garments[i] for i in (0, 1, 3)]))
    total, count = 0.0, 0
    for chosen in ((0, 1), (3,)):
        batch = collate([garments[i] for i in chosen])
        wanted = int(batch.categories[0])
        part = support_loss(base.heatmaps(base.fenet(batch.images), wanted), batch)
        total, count = total + part * batch.labelled.sum(), count + batch.labelled.sum()
    torch.testing.assert_close(mixed, total / count, rtol=1e-4, atol=1e-6)


def test_ft_starts_new_detectors_at_zero_or_as_a_new_layer():
    support = toy_task(9, shots=2).support
    assert not build("FT").new_detectors(support).any()
    model = build("FT", random_start=True)
    first, second = (model.new_detectors(support) for _ in range(2))
    bound = model.base.channels**-0.5
    assert 0.5 * bound < first.abs().max() <= bound and not torch.equal(first, second)


def test_a_learner_learns_a_task_whose_answer_is_known():
    """Landmarks are the bright pixels of the image: fine-tuning on the queries finds them."""
    model = build("FT", tuning_steps=60, inner_rate=0.02, detector_rate=8.0)
    task = toy_task(9, shots=4, hidden=0.0)
    with torch.no_grad():
        found = decode(model.adapt(task.support)(task.support.images), 16)
    distance = (found - task.support.landmarks).norm(dim=-1)
    assert distance.median() < 2.0


def test_unknown_learners():
    with pytest.raises(UserError, match="'SVM'.*FT, MAML"):
        find_learner("SVM")
    with pytest.raises(UserError, match="'nowhere:Me'"):
        find_learner("nowhere:Me")
    with pytest.raises(UserError, match="tests.toy:ToyGarments"):
        find_learner("tests.toy:ToyGarments")


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_learner("FT").Settings().tasks = 3


def test_ppnet_starts_with_prototypes_as_long_as_base_detectors():
    """Before any task the detectors point where prototypes do, so PROTO's decision is Base-FEN's."""
    model = build("Base-FEN", inner_steps=0)
    task = toy_task(4, shots=3)
    points = prototypes(model.base.fenet(task.support.images), task.support)
    length = model.base.omega.norm(dim=1).mean()  # and features are sqrt(C) long
    torch.testing.assert_close(model.ppnet(points), points * length / math.sqrt(points.shape[1]))
    with torch.no_grad():
        heatmaps = model.adapt(task.support)(task.query.images)
        nearest = nearness(model.base.fenet(task.query.images), points)
    known = task.support.labelled.any(0)
    chosen = nearest.flatten(2).gather(2, heatmaps.flatten(2).argmax(-1, keepdim=True))
    best = nearest.flatten(2).amax(-1, keepdim=True)
    torch.testing.assert_close(chosen[:, known], best[:, known], atol=1e-3, rtol=0)
