"""``python -m benchmarks.evidence``: from the repository's root."""

from __future__ import annotations

import sys

from benchmarks.evidence.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
