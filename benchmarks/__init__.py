"""The harness: presets, the grid of cells, records, tables."""
