"""python -m benchmarks.tables: write the tables from stored errors."""

import sys

from benchmarks.tables.build import main

if __name__ == "__main__":
    sys.exit(main())
