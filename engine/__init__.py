"""Runs a deployed network, and gets one there: export, compare, time. Needs torch only to export.

The public names are resolved on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "EngineError": "gearnn.engine.errors",
    "export_onnx": "gearnn.engine.export",
    "load_runtime": "gearnn.engine.runtimes",
    "profile_latency": "gearnn.engine.profile",
}

__all__ = ["EngineError", "export_onnx", "load_runtime", "profile_latency"]

if TYPE_CHECKING:
    from gearnn.engine.errors import EngineError
    from gearnn.engine.export import export_onnx
    from gearnn.engine.profile import profile_latency
    from gearnn.engine.runtimes import load_runtime


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'gearnn.engine' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
