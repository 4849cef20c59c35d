"""The conditions under which anything here was measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional

_PACKAGES = (
    "numpy",
    "pillow",
    "onnxruntime",
    "torch",
    "onnx",
    "scipy",
    "opencv-python-headless",
    "scikit-learn",
    "safetensors",
    "plotly",
)


def environment() -> Dict[str, Any]:
    """Versions of what is installed (nothing is imported) and the device, JSON-ready.

    Returns:
        {"versions": {package: version}, "device": {"name", "cores", "platform", "memory_mb"}}; memory in 10⁶ bytes, None if
        the system does not tell.
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = {"name": _device_name(), "cores": cores, "platform": platform.platform(), "memory_mb": _memory_mb()}
    return {"versions": versions, "device": device}


def _device_name(root: Path = Path("/")) -> str:
    """A board's own name (Jetson, Raspberry Pi), else the processor's."""
    try:
        return (root / "proc/device-tree/model").read_text().strip("\0 \n")
    except OSError:
        pass
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_mb() -> Optional[float]:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    except (ValueError, OSError, AttributeError):
        return None
