"""Hand-made data for tests: garments in memory, whose landmarks are blobs of their own colour."""

from dataclasses import replace

import numpy as np
import torch

from fewshot_landmarks.data.categories import DEEPFASHION2, category
from fewshot_landmarks.data.crops import Garment
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.samples import Samples, Task, collate
from fewshot_landmarks.tasks import LandmarkTasks


class ToyGarments(torch.utils.data.Dataset):
    """`each` garments of each category, one a photo, `size` pixels a side."""

    root = "toy"

    def __init__(self, categories=(7, 9), each=12, size=16, hidden=0.2):
        self.labels = np.repeat(categories, each)
        self.photos = np.arange(len(self.labels))
        self.usable = np.ones(len(self.labels), dtype=bool)
        self.size = size
        self.hidden = hidden
        self.reads = 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i) -> Garment:
        self.reads += 1
        rng = np.random.default_rng(int(i))
        wanted = int(self.labels[i])
        n = category(wanted).landmarks
        landmarks = rng.uniform(1, self.size - 1, (n, 2)).astype(np.float32)
        labelled = rng.random(n) > self.hidden
        image = rng.uniform(0, 0.3, (3, self.size, self.size)).astype(np.float32)
        colours = np.random.default_rng(wanted).uniform(0.3, 1, (n, 3))
        for (x, y), colour in zip(landmarks.astype(int), colours):
            image[:, y, x] = colour
        return Garment(
            image=torch.from_numpy(image),
            landmarks=torch.from_numpy(landmarks),
            labelled=torch.from_numpy(labelled),
            inside=torch.from_numpy(labelled),
            origin=torch.tensor([10.0, 20.0]),
            scale=torch.tensor([2.0, 3.0]),
            box=torch.tensor([0.0, 0.0, self.size, self.size]),
            area=torch.tensor(float(self.size**2 * 6)),
            category=wanted,
            index=int(i),
        )


def toy_tasks(categories=(7, 9), **options) -> LandmarkTasks:
    settings = {"shots": (1, 3), "queries": 2, "num_tasks": 8, "seed": 0} | options
    return LandmarkTasks(ToyGarments(categories), categories, **settings)


def toy_task(wanted=9, shots=2, queries=2, hidden=0.2) -> Task:
    garments = ToyGarments((wanted,), hidden=hidden)
    chosen = [garments[i] for i in range(shots + queries)]
    return Task(wanted, collate(chosen[:shots]), collate(chosen[shots:]))


def toy_base(seen=(7, 9), kind="linear", channels=4) -> BaseModel:
    torch.manual_seed(0)
    fenet = SmallFENet(channels=channels, width=8)
    base = BaseModel(fenet, DEEPFASHION2.landmarks(seen), kind, DEEPFASHION2.most_landmarks)
    return base.requires_grad_(False)


def double(task: Task) -> Task:
    def convert(samples: Samples) -> Samples:
        return replace(
            samples, images=samples.images.double(), landmarks=samples.landmarks.double()
        )

    return Task(task.category, convert(task.support), convert(task.query))


def batch(
    images: torch.Tensor, landmarks: torch.Tensor, labelled=None, scale=(1.0, 1.0)
) -> Samples:
    """Crops (B, 3, S, S) whose boxes are the whole crops, with landmarks (B, N, 2)."""
    count, size = len(images), images.shape[-1]
    known = torch.ones(landmarks.shape[:2], dtype=torch.bool) if labelled is None else labelled
    return Samples(
        images=images,
        landmarks=landmarks,
        labelled=known,
        scored=known.clone(),
        origin=torch.zeros(count, 2),
        scale=torch.tensor(scale).expand(count, 2).clone(),
        box=torch.tensor([0.0, 0.0, size, size]).repeat(count, 1),
        area=torch.full((count,), size**2 * scale[0] * scale[1]),
        categories=torch.ones(count, dtype=torch.long),
        indices=torch.arange(count),
    )


def blobs(points: torch.Tensor, size: int, sigma=2.0) -> torch.Tensor:
    """Images (B, 3, S, S) with a Gaussian at each of three points (B, 3, 2), a channel each."""
    centres = torch.arange(size) + 0.5
    x = torch.exp(-((centres - points[..., :1]) ** 2) / (2 * sigma**2))
    y = torch.exp(-((centres - points[..., 1:]) ** 2) / (2 * sigma**2))
    return y.unsqueeze(-1) * x.unsqueeze(-2)
