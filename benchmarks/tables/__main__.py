"""python -m benchmarks.tables: write Tables 2, 3 and 4 from stored errors."""

import sys

from benchmarks.tables.build import main

if __name__ == "__main__":
    sys.exit(main())
