"""Errors of landmarks, object keypoint similarity, calibration, means and intervals."""
