"""The task distribution: few-shot landmark tasks as a learn2learn `TaskDataset`.

A task is one category: K support and Q query garments, disjoint, from K + Q different photos.
Task i depends on the seed and on i alone, whatever was drawn before and on however many workers.
"""

import contextlib
import io
from dataclasses import dataclass

import numpy as np

with contextlib.redirect_stderr(io.StringIO()):  # gym, which it imports, tells of its own age
    import learn2learn as l2l
from learn2learn.data.task_dataset import DataDescription

from fewshot_landmarks.data.categories import DEEPFASHION2
from fewshot_landmarks.protocol import SHOTS, usable
from fewshot_landmarks.samples import Task, collate
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.rng import raw_stream


@dataclass(frozen=True)
class Draw:
    """Which garments make a task: positions in the data set."""

    category: int
    support: tuple[int, ...]
    query: tuple[int, ...]


class LandmarkTasks(l2l.data.Taskset):
    """Few-shot landmark tasks over a data set of garments.

    Args:
        garments: a data set whose items are `Garment`s, with `labels` (category id of each),
            `photos` (number of the photo each is in) and `usable` (M,) arrays, and `categories`
            where they are not DeepFashion2's.
        categories: ids of the categories that tasks are drawn from, with equal chances.
        shots: numbers of support garments; each task draws one of them.
        queries: number of query garments a task.
        num_tasks: length of the task set.
        seed: task i is a function of `seed` and i.

    Indexing gives a `Task`. Raises `UserError` where a category has garments in fewer photos
    than the most shots plus the queries.
    """

    def __init__(self, garments, categories, *, shots=SHOTS, queries=24, num_tasks=-1, seed=0):
        self.garments = garments
        self.categories = tuple(categories)
        self.shots = tuple(shots)
        self.queries = queries
        self.seed = seed
        self._members = {c: self._usable(c) for c in self.categories}
        labels = dict(enumerate(garments.labels.tolist()))
        dataset = l2l.data.MetaDataset(garments, indices_to_labels=labels)
        super().__init__(dataset, num_tasks=num_tasks, task_collate=_collate_task)

    def _usable(self, wanted: int) -> np.ndarray:
        members, photos = usable(self.garments, wanted)
        needed = max(self.shots) + self.queries
        if photos < needed:
            categories = getattr(self.garments, "categories", DEEPFASHION2)
            raise UserError(
                f"category {categories[wanted].name!r} has garments in {photos} photos of "
                f"{getattr(self.garments, 'root', 'the data set')}, and a task of "
                f"{max(self.shots)} shots and {self.queries} queries needs {needed}: "
                "add photos, or choose fewer shots or queries"
            )
        return members

    def members(self) -> np.ndarray:
        """Positions of all usable garments of the categories."""
        return np.sort(np.concatenate(list(self._members.values())))

    def draw(self, i: int) -> Draw:
        """The garments of task i."""
        stream = raw_stream(self.seed, i)
        wanted = self.categories[next(stream) % len(self.categories)]
        shots = self.shots[next(stream) % len(self.shots)]
        return self._fill(wanted, shots, stream)

    def _fill(self, wanted: int, shots: int, stream) -> Draw:
        """The first garments of the stream that are in different photos."""
        members, chosen, photos = self._members[wanted], [], set()
        while len(chosen) < shots + self.queries:
            index = int(members[next(stream) % len(members)])
            photo = int(self.garments.photos[index])
            if photo not in photos:
                photos.add(photo)
                chosen.append(index)
        return Draw(wanted, tuple(chosen[:shots]), tuple(chosen[shots:]))

    def __len__(self) -> int:
        return max(1, self.num_tasks)

    def __getitem__(self, i: int) -> Task:
        if self.num_tasks != -1 and not 0 <= i < self.num_tasks:
            raise IndexError(f"task {i} of {self.num_tasks}")
        draw = self.draw(i)
        return self.get_task(
            [self._describe(index, "support") for index in draw.support]
            + [self._describe(index, "query") for index in draw.query]
        )

    def _describe(self, index: int, role: str) -> DataDescription:
        description = DataDescription(index)
        description.transforms.append(lambda i: (role, self.garments[i]))
        return description

    def __next__(self) -> Task:
        if self.num_tasks != -1 and self._task_id >= self.num_tasks:
            raise StopIteration
        self._task_id += 1
        return self[self._task_id - 1]


def _collate_task(garments: list) -> Task:
    support = collate([garment for role, garment in garments if role == "support"])
    query = collate([garment for role, garment in garments if role == "query"])
    return Task(int(support.categories[0]), support, query)


class Episodes(LandmarkTasks):
    """The fixed tasks of meta-test: `episodes` for each category, in order (section 4.1).

    Each has the most shots; the support of K shots is its first K, so supports are nested and
    the queries shared. An episode depends on the seed, its category and its number, so all
    learners, and all benchmarks that share a category, meet the same ones.
    """

    def __init__(self, garments, categories, *, episodes, shots=SHOTS, queries=24, seed=0):
        self.episodes = episodes
        super().__init__(
            garments,
            categories,
            shots=(max(shots),),
            queries=queries,
            num_tasks=episodes * len(tuple(categories)),
            seed=seed,
        )

    def draw(self, i: int) -> Draw:
        wanted, episode = self.categories[i // self.episodes], i % self.episodes
        return self._fill(wanted, self.shots[0], raw_stream(self.seed, wanted, episode))
