"""What all parts stand on: files, processes, errors, text; nothing of landmarks."""
