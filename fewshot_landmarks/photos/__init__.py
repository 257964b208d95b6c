"""The tool for one's own photos: model files, scores, comparison, the page, the commands."""

from pathlib import Path

MODELS = Path(__file__).with_name("models")  # this project's own, one of each learner
