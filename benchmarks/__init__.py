"""The harness: presets, the grid of cells, records, tables."""

import sys

from fewshot_landmarks.support.console import begin

if sys.argv[:1] == ["-m"]:  # one of the commands here, which is about to be imported
    begin()
