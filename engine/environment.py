"""The conditions a number was measured under: versions and device. Nothing heavy is imported to find them."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

# What a result can depend on. GPU and headless builds ship the same module under another name.
_PACKAGES: Dict[str, Tuple[str, ...]] = {
    "numpy": ("numpy",),
    "pillow": ("pillow",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt-rtx"),
    "torch": ("torch",),
    "onnx": ("onnx",),
    "numba": ("numba",),
    "numba_cuda": ("numba-cuda",),
    "kornia": ("kornia",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"),
    "scipy": ("scipy",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "scikit-learn": ("scikit-learn",),
    "safetensors": ("safetensors",),
}


def environment() -> Dict[str, Any]:
    """Versions and device, JSON-ready.

    Returns:
        ``{"versions": {"python", "numpy", "onnxruntime", "torch", ...}, "device": {"name", "cores", "platform",
        "memory_mb"}}``. A package that is not installed has no entry; memory that cannot be read is None. ``cores``
        are those this process may run on, ``memory_mb`` is the memory of the machine in 10⁶ bytes.
    """
    versions = {"python": platform.python_version()}
    for package, distributions in _PACKAGES.items():
        version = _version(package, distributions)
        if version is not None:
            versions[package] = version
    return {
        "versions": versions,
        "device": {
            "name": device_name(),
            "cores": usable_cores(),
            "platform": platform.platform(),
            "memory_mb": _memory_mb(),
        },
    }


def usable_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name(root: Path = Path("/")) -> str:
    """The board's name where the device tree gives one (Jetson, Raspberry Pi), else the processor's.

    Args:
        root: where ``proc`` is mounted; another folder in tests.
    """
    board = _read(root / "proc/device-tree/model").strip("\0 \n")
    if board:
        return board
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _version(package: str, distributions: Tuple[str, ...]) -> Optional[str]:
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:
        return str(loaded)
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _memory_mb() -> Optional[int]:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    except (AttributeError, OSError, ValueError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
