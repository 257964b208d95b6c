"""python -m benchmarks.claims: judge the paper's claims by stored errors."""

import sys

from benchmarks.claims.build import main

if __name__ == "__main__":
    sys.exit(main())
