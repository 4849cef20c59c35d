"""How accurate a network stays when its images are corrupted."""

from gearnn.robustness.benchmark import Predictor, Report, benchmark, benchmark_models
from gearnn.robustness.cache import CorruptionCache, corruption_cache
from gearnn.robustness.corruptions import (
    ALL_CORRUPTIONS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    corrupt,
    register_corruption,
)
from gearnn.robustness.official import Official, open_official
from gearnn.robustness.parameters import parameter_set

__all__ = [
    "ALL_CORRUPTIONS",
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "CorruptionCache",
    "Official",
    "Predictor",
    "Report",
    "benchmark",
    "benchmark_models",
    "corrupt",
    "corruption_cache",
    "open_official",
    "parameter_set",
    "register_corruption",
]
