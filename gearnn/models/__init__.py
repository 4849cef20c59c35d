"""The networks: VGG-19-BN, MobileNet-V1 and ResNet-18 in their 32×32 forms, built from explicit widths."""

from gearnn.models.normalize import Normalize, deployable
from gearnn.models.registry import (
    Entry,
    count_macs,
    count_parameters,
    create_model,
    full_widths,
    list_models,
    register_model,
    scaled_widths,
    widths_of,
)

__all__ = [
    "Entry",
    "Normalize",
    "count_macs",
    "count_parameters",
    "create_model",
    "deployable",
    "full_widths",
    "list_models",
    "register_model",
    "scaled_widths",
    "widths_of",
]
