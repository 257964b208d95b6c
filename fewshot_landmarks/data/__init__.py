"""Data sets of garments: DeepFashion2 as it lies on disk, and garments drawn in its layout."""
