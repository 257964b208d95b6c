"""Normalised error, the paper's metric (section 4.1)."""

import torch


def normalised_error(
    predicted: torch.Tensor, true: torch.Tensor, scored: torch.Tensor, area: torch.Tensor
) -> torch.Tensor:
    """Distance over the square root of the garment's area: (B, N), NaN where not scored.

    predicted, true: (B, N, 2) in original pixels; scored: (B, N) bool; area: (B,) in original
    pixels squared.
    """
    distance = torch.linalg.vector_norm(predicted - true, dim=-1)
    error = distance / area.sqrt().unsqueeze(-1)
    return error.masked_fill(~scored, float("nan"))
