"""Learners that no task teaches: closed forms on a pretrained network's frozen features."""
