"""From cells to records: which work is missing, doing it, storing it."""
