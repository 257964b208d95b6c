"""python -m benchmarks.figures: draw the figures of what is stored."""

import sys

from benchmarks.figures.build import main

if __name__ == "__main__":
    sys.exit(main())
