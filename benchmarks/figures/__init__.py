"""Figures from what a run stored."""
