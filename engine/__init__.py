"""Deployed networks: ONNX files written, loaded, compared and timed; running one needs no torch.

The public names are resolved on first use: importing this package imports neither torch nor ONNX Runtime nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

# Imported now, not on first use: the function is called like its module, and a module imported later would hide it.
from gearnn.engine.compare import compare
from gearnn.engine.errors import EngineError

_HOMES = {
    "export_onnx": "gearnn.engine.export",
    "load": "gearnn.engine.predict",
    "load_runtime": "gearnn.engine.runtimes",
    "profile_latency": "gearnn.engine.profile",
}

__all__ = ["EngineError", "compare", "export_onnx", "load", "load_runtime", "profile_latency"]

if TYPE_CHECKING:
    from gearnn.engine.export import export_onnx
    from gearnn.engine.predict import load
    from gearnn.engine.profile import profile_latency
    from gearnn.engine.runtimes import load_runtime


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gearnn.engine' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
