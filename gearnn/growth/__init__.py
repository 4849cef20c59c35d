"""One-Shot Growth: propose → score → select → apply."""

from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.step import Growth, grow

__all__ = ["GroupGrowth", "Growth", "GrowthDecision", "grow"]
