"""How accurate a network stays when its images are corrupted."""

from gearnn.robustness.benchmark import Predictor, Report, benchmark, benchmark_models
from gearnn.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "Predictor", "Report", "benchmark", "benchmark_models", "corrupt"]
