"""A table of profiled layer shapes, kept on disk per runtime and device, and times at the widths between them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
from bisect import bisect_right
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from gearnn.engine.environment import device_name
from gearnn.engine.errors import EngineError
from gearnn.engine.files import write_bytes
from gearnn.engine.layers import LayerShape, layer_network, profile_layers
from gearnn.engine.runtimes import load_runtime

Progress = Callable[[str, int, int], None]
Profiler = Callable[[Sequence[LayerShape], Callable[[int, int], None]], List[float]]
"""Shapes and (done, total) progress → seconds of each."""

_FORMAT = 1
_LABEL = "profiling layers"
_BLOCKS = (32, 16, 8, 4)
_PROBE = LayerShape("conv", 64, 128, (3, 3), height=8, width=8)


def _silent(label: str, done: int, total: int) -> None:
    """Say nothing."""


class LayerTable:
    """Seconds per layer shape on one runtime, version, device and number of threads.

    Attributes:
        conditions: what the times hold for.
        path: of the JSON file.
    """

    def __init__(self, conditions: Dict[str, Any], path: Path, profiler: Profiler) -> None:
        self.conditions = conditions
        self.path = path
        self._profiler = profiler
        self._seconds = _read(path, conditions)

    @classmethod
    def open(cls, runtime: str = "auto", threads: int = 1, cache_dir: Optional[Path] = None) -> LayerTable:
        """The table of this device, empty at first; a file that is torn or of other conditions counts as none.

        Args:
            cache_dir: by default ``gearnn`` in XDG_CACHE_HOME or ``~/.cache``.

        Raises:
            EngineError: if the runtime is unknown or not installed.
        """
        with tempfile.TemporaryDirectory(prefix="gearnn-layer-") as folder:
            tiny = Path(folder) / "tiny.onnx"
            write_bytes(tiny, layer_network(LayerShape("elementwise", 1, 1), 1))
            with load_runtime(tiny, runtime, threads) as loaded:
                name, version = loaded.name, loaded.version
        conditions = {
            "runtime": name, "version": version, "device": device_name(), "instructions": _instructions(), "threads": threads,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:12]
        folder_of_tables = (cache_dir or _default_cache()) / "layers"
        return cls(
            conditions,
            folder_of_tables / f"{name}-{version}-{threads}t-{key}.json",
            lambda shapes, progress: profile_layers(shapes, runtime, threads, progress=progress),
        )

    def __contains__(self, shape: LayerShape) -> bool:
        return shape in self._seconds

    def seconds(self, shape: LayerShape) -> float:
        """Of a shape that was measured; KeyError otherwise."""
        return self._seconds[shape]

    def measure(self, shapes: Iterable[LayerShape], progress: Progress = _silent) -> None:
        """Profile those not in the table yet, and keep them on disk.

        Raises:
            EngineError: if a layer cannot be profiled or the file not be written.
        """
        missing = [shape for shape in dict.fromkeys(shapes) if shape not in self._seconds]
        if missing:
            self._seconds.update(zip(missing, self._profiler(missing, lambda done, total: progress(_LABEL, done, total))))
            self._write()

    def block(self, progress: Progress = _silent) -> int:
        """The channels that the runtime's convolutions come in: 17 channels take as long as 32 where it is 16.

        Runtimes pad channels to whole vectors. A block b is found where half a block more costs nearly what a whole one does;
        1 where no step is seen.
        """
        shapes = {wide: replace(_PROBE, inputs=_PROBE.inputs + wide) for wide in (0, *(b // 2 for b in _BLOCKS), *_BLOCKS)}
        self.measure(shapes.values(), progress)
        at = {wide: self.seconds(shape) for wide, shape in shapes.items()}
        for block in _BLOCKS:
            if at[block // 2] - at[0] > 0.75 * (at[block] - at[0]) > 0:
                return block
        return 1

    def _write(self) -> None:
        merged = {**_read(self.path, self.conditions), **self._seconds}  # another process may have added its own
        rows = [[*astuple(shape), seconds] for shape, seconds in merged.items()]
        content = {"format": _FORMAT, "conditions": self.conditions, "layers": rows}
        write_bytes(self.path, json.dumps(content).encode())


class Surface:
    """Seconds of one kind of layer at any inputs and outputs, bilinear between profiled ones and monotone in both."""

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], seconds: np.ndarray) -> None:
        """``seconds``: (len(inputs), len(outputs)); both axes ascending."""
        self.inputs, self.outputs = list(inputs), list(outputs)
        self._values: List[List[float]] = _monotone(np.asarray(seconds, np.float64)).tolist()

    def __call__(self, inputs: int, outputs: int) -> float:
        row, down = _between(self.inputs, inputs)
        column, right = _between(self.outputs, outputs)
        above, below = self._values[row], self._values[min(row + 1, len(self.inputs) - 1)]
        after = min(column + 1, len(self.outputs) - 1)
        first = above[column] + right * (above[after] - above[column])
        second = below[column] + right * (below[after] - below[column])
        return first + down * (second - first)


def surface_shapes(
    shape: LayerShape, inputs: Tuple[int, int], outputs: Tuple[int, int], block: int
) -> Tuple[List[int], List[int], List[List[LayerShape]]]:
    """The grid to profile for layers like ``shape`` from the smallest to the largest (inputs, outputs).

    Inputs double from point to point; outputs have a point between, since kernels handle several blocks of outputs at once and
    time rises in steps. Layers whose outputs are their inputs get a single row of a grid: (inputs, inputs).
    """
    if is_diagonal(shape):
        points = _points(*inputs, _block_of(shape, block), dense=False)
        return points, points[:1], [[resized(shape, point, point)] for point in points]
    rows, columns = _points(*inputs, block, dense=False), _points(*outputs, block, dense=True)
    return rows, columns, [[resized(shape, row, column) for column in columns] for row in rows]


def is_diagonal(shape: LayerShape) -> bool:
    """Whether its outputs are its inputs: an elementwise or a depthwise or grouped layer."""
    return shape.op == "elementwise" or (shape.groups > 1 and shape.inputs == shape.outputs)


def resized(shape: LayerShape, inputs: int, outputs: int) -> LayerShape:
    """The layer at other widths; grouped ones keep the size of their groups."""
    groups = inputs * shape.groups // shape.inputs if shape.groups > 1 and is_diagonal(shape) else shape.groups
    return replace(shape, inputs=inputs, outputs=outputs, groups=groups)


def padded(shape: LayerShape, inputs: int, outputs: int, block: int) -> Tuple[int, int]:
    """The (inputs, outputs) that a layer like ``shape`` takes as long as: convolutions come in whole blocks of channels."""
    if shape.op != "conv" or (shape.groups > 1 and not is_diagonal(shape)):
        return inputs, outputs
    block = _block_of(shape, block)
    return round_up(inputs, block), round_up(outputs, block)


def _block_of(shape: LayerShape, block: int) -> int:
    """Of a grouped layer, whole groups as well."""
    size = shape.inputs // shape.groups if shape.groups > 1 else 1
    return block * size // math.gcd(block, size)


def round_up(width: int, block: int) -> int:
    """To whole blocks; widths below one block are left, since runtimes treat those differently."""
    return width if width < block else -(-width // block) * block


def _points(smallest: int, largest: int, block: int, dense: bool) -> List[int]:
    low, high = round_up(smallest, block), round_up(largest, block)
    points, point = {low, high}, low
    while point < high:
        points.update(round_up(value, block) for value in ((point, point * 3 // 2) if dense else (point,)))
        point *= 2
    return sorted(value for value in points if value <= high)


def _between(points: Sequence[int], value: int) -> Tuple[int, float]:
    """(index, fraction of the way to the next); constant below the first, linear beyond the last."""
    if len(points) == 1 or value <= points[0]:
        return 0, 0.0
    index = min(bisect_right(points, value) - 1, len(points) - 2)
    return index, (value - points[index]) / (points[index + 1] - points[index])


def _monotone(values: np.ndarray) -> np.ndarray:
    """Non-decreasing along both axes: the mean of the nearest such array from above and that from below."""
    above, below = values, values
    for axis in range(values.ndim):
        above = np.maximum.accumulate(above, axis=axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis), axis=axis), axis)
    return (above + below) / 2


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gearnn"


def _instructions() -> str:
    """The instruction sets, shortened: processors of one name differ in them where machines are rented."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.split(":")[0].strip() in ("flags", "Features")), "")
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def _read(path: Path, conditions: Dict[str, Any]) -> Dict[LayerShape, float]:
    """The table in a file; nothing if it is missing, torn, or of other conditions."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or content["conditions"] != conditions:
            return {}
        table = {}
        for op, inputs, outputs, kernel, stride, groups, height, width, seconds in content["layers"]:
            if not (isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0):
                return {}
            (down, right), (rows, columns) = kernel, stride
            table[LayerShape(op, inputs, outputs, (down, right), (rows, columns), groups, height, width)] = seconds
        return table
    except (OSError, ValueError, KeyError, TypeError, EngineError):
        return {}
