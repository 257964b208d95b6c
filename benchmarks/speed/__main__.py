"""python -m benchmarks.speed: meta-training speed and memory."""

import sys

from benchmarks.speed.training import main

if __name__ == "__main__":
    sys.exit(main())
