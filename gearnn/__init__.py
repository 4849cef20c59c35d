"""GEARnn: grow a small network once, make it robust, measure it and deploy it, on the device that holds the data.

The public names below are resolved on first use, so that ``import gearnn`` (and ``gearnn.engine`` on a board without
torch) stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

__version__ = "0.1.0"

_HOMES = {
    "ERA": "gearnn.era",
    "PRIME": "gearnn.prime",
    "Budget": "gearnn.config",
    "RunConfig": "gearnn.config",
    "UserError": "gearnn.errors",
    "benchmark": "gearnn.robustness",
    "create_model": "gearnn.models",
    "grow": "gearnn.growth.step",
    "list_models": "gearnn.models",
    "load": "gearnn.loading",
    "load_data": "gearnn.data",
    "run": "gearnn.pipeline",
}

__all__ = [
    "ERA",
    "PRIME",
    "Budget",
    "RunConfig",
    "UserError",
    "benchmark",
    "create_model",
    "grow",
    "list_models",
    "load",
    "load_data",
    "run",
]

if TYPE_CHECKING:
    from gearnn.config import Budget, RunConfig
    from gearnn.data import load_data
    from gearnn.era import ERA
    from gearnn.errors import UserError
    from gearnn.growth.step import grow
    from gearnn.loading import load
    from gearnn.models import create_model, list_models
    from gearnn.pipeline import run
    from gearnn.prime import PRIME
    from gearnn.robustness import benchmark


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gearnn' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
