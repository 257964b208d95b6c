"""python -m benchmarks.report: one page of a results directory."""

import sys

from benchmarks.report.build import main

if __name__ == "__main__":
    sys.exit(main())
