"""Side-by-side timings of the kernels and their peers, in one process: what ``gearnn bench`` runs."""
