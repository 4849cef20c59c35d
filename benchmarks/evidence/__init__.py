"""Does it pay, against whom, and by how much: tables of whole runs. ``python -m benchmarks.evidence --help``."""
