"""Few-shot landmark detection: a task distribution, learners, and what a harness needs of them."""

__version__ = "0.1.0"
