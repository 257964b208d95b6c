"""The eight baselines of section 4.3, one a file."""
