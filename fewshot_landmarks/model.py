"""`from fewshot_landmarks.model import load`, the same as `from fewshot_landmarks import load`."""

from fewshot_landmarks.photos.model import Finder, Model, load

__all__ = ["Finder", "Model", "load"]
