"""Meta-test: what a learner's detector gets wrong on an episode (section 4.1)."""

from dataclasses import dataclass

import torch

from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import Learner, heatmaps_of
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.samples import Task


@dataclass(frozen=True)
class EpisodeErrors:
    """Normalised errors of one episode at one number of shots."""

    ne: float  # mean over all scored landmarks of all query images; NaN if nothing is scored, or
    # if the learner's heatmaps are NaN
    scored: int  # how many landmarks of query images were scored
    left_out: int  # how many of the category's landmarks no support image labels
    landmarks: tuple[float, ...]  # mean error of each landmark; NaN where it was never scored


@dataclass(frozen=True)
class Predictions:
    """What a learner made of the Q query images of an episode, landmark by landmark."""

    errors: torch.Tensor  # (Q, N) float64, normalised; NaN where not scored, or without an answer
    scored: torch.Tensor  # (Q, N) bool
    left_out: int  # how many landmarks no support image labels
    heights: torch.Tensor  # (Q,): mean height of the peaks, in deviations of a heatmap's cells

    def mean(self) -> EpisodeErrors:
        """Their mean errors."""
        return EpisodeErrors(
            ne=self.errors[self.scored].mean().item(),
            scored=int(self.scored.sum()),
            left_out=self.left_out,
            landmarks=tuple(self.errors.nanmean(0).tolist()),
        )


def answers(heatmaps: torch.Tensor, size: int) -> torch.Tensor:
    """`decode`, but NaN where a heatmap has NaN: the learner diverged and has no answer."""
    found = decode(heatmaps, size)
    found[heatmaps.isnan().flatten(2).any(-1)] = float("nan")
    return found


def predict_episode(learner: Learner, task: Task, shots: int) -> Predictions:
    """Adapt to the first `shots` support garments and score the queries.

    A landmark that none of those labels cannot be learnt: it is left out of the score, for every
    learner alike. A landmark outside the crop is scored where its photo labels it.
    """
    query, learnable = task.query, task.learnable(shots)
    with torch.no_grad():
        heatmaps = heatmaps_of(learner.adapt(task.support[:shots]), query)
        predicted = query.to_original(answers(heatmaps, query.size))
    cells = heatmaps.flatten(2)
    heights = (cells.amax(-1) - cells.mean(-1)) / cells.std(-1)
    true = query.to_original(query.landmarks)
    scored = query.scored & learnable
    return Predictions(
        errors=normalised_error(predicted, true, scored, query.area).double(),
        scored=scored,
        left_out=int((~learnable).sum()),
        heights=heights[:, learnable].mean(1),
    )


def evaluate_episode(learner: Learner, task: Task, shots: int) -> EpisodeErrors:
    """The mean errors of `predict_episode`."""
    return predict_episode(learner, task, shots).mean()
