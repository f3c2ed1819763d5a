"""``python -m benchmarks``: the same as ``featcodec bench``."""

import sys

from .suites.default import main

if __name__ == "__main__":
    sys.exit(main())
