"""Errors of landmarks, their means and intervals, calibration."""
