"""The harness: presets, the grid of cells, records, tables."""

import sys

from fewshot_landmarks.support.console import leave_at_once

if sys.argv[:1] == ["-m"]:  # one of the commands here, which is about to be imported
    leave_at_once()
