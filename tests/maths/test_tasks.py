"""The task distribution: the same episodes for everybody, disjoint, nested, and in learn2learn."""

import pickle
import random

import learn2learn as l2l
import numpy as np
import pytest
import torch

from fewshot_landmarks import protocol
from fewshot_landmarks.data.categories import CATEGORIES, category
from fewshot_landmarks.samples import collate
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.tasks import Episodes, LandmarkTasks
from tests.toy import ToyGarments, toy_tasks

SEEN = (4, 7, 9)


@pytest.fixture(scope="module")
def garments():
    return ToyGarments(SEEN, each=20)


def test_support_and_query_are_disjoint_and_of_one_category(garments):
    tasks = LandmarkTasks(garments, SEEN, shots=(1, 5), queries=6)
    for i in range(50):
        draw = tasks.draw(i)
        chosen = draw.support + draw.query
        assert len(set(garments.photos[list(chosen)])) == len(chosen)
        assert set(garments.labels[list(chosen)]) == {draw.category}
        assert len(draw.support) in (1, 5) and len(draw.query) == 6


def test_two_garments_of_one_photo_never_meet():
    garments = ToyGarments((9,), each=12)
    garments.photos = garments.photos // 2
    tasks = LandmarkTasks(garments, (9,), shots=(3,), queries=3)
    for i in range(20):
        draw = tasks.draw(i)
        assert len(set(garments.photos[list(draw.support + draw.query)])) == 6


def test_unusable_garments_are_never_drawn():
    garments = ToyGarments((9,), each=12)
    garments.usable[:6] = False
    tasks = LandmarkTasks(garments, (9,), shots=(2,), queries=4)
    drawn = {index for i in range(20) for index in tasks.draw(i).support + tasks.draw(i).query}
    assert drawn <= set(range(6, 12))


def test_a_task_depends_on_seed_and_number_alone(garments):
    tasks, again = (LandmarkTasks(garments, SEEN, queries=4, seed=3) for _ in range(2))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    forward = [tasks.draw(i) for i in range(9)]
    assert [again.draw(i) for i in reversed(range(9))] == forward[::-1]
    assert [LandmarkTasks(garments, SEEN, queries=4, seed=4).draw(i) for i in range(9)] != forward


def test_draws_are_pinned(garments):
    """On every platform and in every release: these numbers must never change."""
    draw = Episodes(garments, (7,), episodes=1, shots=(1, 3), queries=3, seed=5).draw(0)
    assert (draw.support, draw.query) == ((26, 39, 20), (23, 31, 29))


def test_episodes_do_not_depend_on_the_benchmark(garments):
    one = Episodes(garments, (4, 9), episodes=3, shots=(1, 3), queries=4, seed=1)
    other = Episodes(garments, (9, 7), episodes=3, shots=(1, 3), queries=4, seed=1)
    assert [one.draw(i) for i in (3, 4, 5)] == [other.draw(i) for i in (0, 1, 2)]


def test_supports_are_nested_and_queries_shared(garments):
    episodes = Episodes(garments, (9,), episodes=2, shots=(1, 3, 5), queries=4)
    task, draw = episodes[1], episodes.draw(1)
    assert task.query.indices.tolist() == list(draw.query)
    for shots in (1, 3, 5):
        assert task.support[:shots].indices.tolist() == list(draw.support[:shots])
        one, whole = task.support[:shots].images, garments[draw.support[shots - 1]].image
        assert torch.equal(one[-1], whole) and len(one) == shots


def test_workers_do_not_change_tasks(garments):
    """Each has a copy, as processes get it, and draws some of the tasks."""
    tasks = LandmarkTasks(garments, SEEN, shots=(1, 3), queries=2, num_tasks=6)
    alone = [tasks[i].query.indices.tolist() for i in range(6)]
    workers = [pickle.loads(pickle.dumps(tasks)) for _ in range(2)]
    shared = [workers[i % 2][i].query.indices.tolist() for i in range(6)]
    assert shared == alone


def test_too_few_garments_is_said_in_one_line(garments):
    with pytest.raises(UserError, match="'shorts'.*20 photos.*needs 27"):
        LandmarkTasks(garments, (7,), shots=(3,), queries=24)


def test_it_is_a_learn2learn_task_set(garments):
    tasks = toy_tasks()
    assert isinstance(tasks, l2l.data.Taskset)
    assert len(list(tasks)) == len(tasks) == 8
    assert tasks.sample().query.images.shape[1:] == (3, 16, 16)
    sizes = {task.landmarks for task in tasks}
    assert sizes == {8, 10}  # N varies from task to task
    endless = LandmarkTasks(garments, SEEN, shots=(1,), queries=2)
    assert endless[10**6].support.images.shape[0] == 1
    with pytest.raises(IndexError):
        tasks[8]


def test_building_a_task_set_reads_no_image():
    garments = ToyGarments(SEEN, each=20)
    tasks = LandmarkTasks(garments, SEEN, shots=(1,), queries=2)
    assert garments.reads == 0
    tasks[0]
    assert garments.reads == 3


def test_mixed_batches_are_padded_and_padding_is_never_labelled():
    garments = ToyGarments((4, 9), each=1, hidden=0.0)
    mixed = collate([garments[0], garments[1]])
    assert mixed.landmarks.shape == (2, 39, 2)
    assert mixed.labelled.sum(1).tolist() == [39, 8]


def test_crop_pixels_map_back_to_the_photo():
    batch = collate([ToyGarments((9,))[0]])
    there = batch.to_original(torch.tensor([[[0.0, 0.0], [4.0, 2.0]]]))
    assert there.tolist() == [[[10.0, 20.0], [18.0, 26.0]]]


def test_protocol_is_the_papers():
    assert sum(c.landmarks for c in CATEGORIES) == 294
    seen = {name: {category(i).name for i in b.seen} for name, b in protocol.BENCHMARKS.items()}
    assert sum(category(name).landmarks for name in seen["B-1"]) == 112
    assert seen["B-3"] == {"vest", "sling", "shorts", "trousers", "skirt", "vest dress"}
    assert not seen["B-2"] & {"shorts", "trousers", "skirt"}
    for benchmark in protocol.BENCHMARKS.values():
        assert len(benchmark.seen) == 6 and len(benchmark.unseen) == 7
        assert not set(benchmark.seen) & set(benchmark.unseen)
    assert protocol.random_benchmark(5).seen != protocol.random_benchmark(6).seen
