"""Few-shot landmark detection: a task distribution, learners, and what a harness needs of them."""

import sys

__version__ = "0.1.0"
__all__ = ["load"]

if sys.version_info < (3, 10):
    sys.exit("fewshot_landmarks needs Python 3.10 to 3.13, and this is " + sys.version.split()[0])


def __getattr__(name: str):
    """`load`, see `fewshot_landmarks.photos.model`: it needs torch, which takes seconds to import
    and which a command's --help does not need."""
    if name == "load":
        from fewshot_landmarks.photos.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
