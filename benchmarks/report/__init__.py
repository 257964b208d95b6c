"""A results directory on one HTML page."""
