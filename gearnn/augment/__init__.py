"""Augmentations: what executes the plans of ``gearnn.kernels.era_plan``."""
