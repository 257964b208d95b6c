"""The device that a command's --device asks for."""

import torch

from fewshot_landmarks.errors import UserError


def find_device(name: str) -> str:
    """The device of a name; of "auto", a GPU if there is one. `UserError` if torch cannot use it."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine's torch finds no GPU; use cpu or auto")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError):
        raise UserError(
            f"--device {name}: this machine's torch has none; use auto, cpu or cuda"
        ) from None
    return name
