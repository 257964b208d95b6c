"""The tool for one's own photos: model files, scores, comparison, the page, the commands."""
