"""Compiles every CUDA variant of the body for given architectures with no GPU: Numba → PTX → ptxas.

``python -m gearnn.kernels.compile_check`` prints registers, shared memory and spills. It needs the CUDA 12 compilers,
``pip install 'gearnn[compilers]'``: CUDA 13 no longer knows sm_72.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .errors import KernelError

ARCHITECTURES = ("sm_72", "sm_87", "sm_90")
"""Xavier NX, Orin, H100."""


@dataclass(frozen=True)
class Resources:
    """What one thread block of a kernel takes on an architecture."""

    kernel: str
    architecture: str
    registers: int
    """Per thread."""
    shared_bytes: int
    stack_bytes: int
    """Per thread."""
    spill_bytes: int
    """Stored and loaded, per thread."""


def variants() -> Dict[str, Tuple[str, bool, Optional[int], bool]]:
    """Every variant of ERA's kernel by name: (family, half, shared capacity or None, mixing)."""
    found = {}
    for half in (False, True):
        kind = "float16" if half else "float32"
        for capacity, mixing, label in (
            (3 * 32 * 32, False, "shared 32x32x3"),
            (3 * 32 * 32, True, "shared 32x32x3, W > 1"),
            (3 * 64 * 64, False, "shared 64x64x3"),
            (None, True, "global scratch"),
        ):
            found[f"era augmix {kind}, {label}"] = ("augmix", half, capacity, mixing)
        found[f"era prime {kind}, global scratch"] = ("prime", half, None, True)
    return found


def check_kernels(architectures: Tuple[str, ...] = ARCHITECTURES) -> Iterator[Resources]:
    """Compile all variants for all architectures, a few seconds each.

    Raises:
        KernelError: if a compiler is missing or refuses.
    """
    compiler = find_ptxas()
    for architecture in architectures:
        for name, variant in variants().items():
            (resources,) = assemble(name, numba_ptx(variant, architecture), architecture, compiler)
            yield replace(resources, kernel=name)


def numba_ptx(variant: Tuple[str, bool, Optional[int], bool], architecture: str) -> str:
    """The PTX of a variant.

    Raises:
        KernelError: if numba.cuda has no compiler for the architecture.
    """
    from numba import cuda, float32, int32, int64, types, uint8

    from . import era_cuda

    family, half, capacity, mixing = variant
    out = types.float16 if half else float32
    level = uint8 if family == "augmix" else float32
    kinds = [(uint8, 2), (int32, 2), (float32, 3), (int64, 3), (float32, 3), (float32, 2), (int32, 2), (types.boolean, 1)]
    kinds += [(float32, 1), (float32, 1), (out, 1)]
    arguments: List[Any] = [types.Array(kind, dimensions, "C") for kind, dimensions in kinds]
    arguments += [int64, int64, int64, types.boolean]
    if capacity is None:
        kernel = era_cuda.make_global(family, half)
        scratch = [(level, 3), (float32, 2), (level, 2), (int32, 2)]
        arguments += [types.Array(kind, dimensions, "C") for kind, dimensions in scratch]
    else:
        kernel = era_cuda.make_shared(family, half, capacity, mixing)
    capability = (int(architecture[3:-1]), int(architecture[-1]))
    # Device functions ask the driver for its device while they are compiled; there may be none.
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        ptx, _ = cuda.compile_ptx(kernel, types.void(*arguments), device=False, cc=capability)
    except Exception as error:  # compilers that are missing or too new raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KernelError(f"numba.cuda cannot compile for {architecture}: {reason}; pip install 'gearnn[compilers]'") from error
    finally:
        dispatcher.get_current_device = asked
    return str(ptx)


def assemble(name: str, ptx: str, architecture: str, compiler: Path) -> List[Resources]:
    """What ptxas says of each kernel in some PTX, by its name there; ``name`` stands for the whole in messages.

    Raises:
        KernelError: if it refuses the code.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        command = [str(compiler), f"-arch={architecture}", "-v", str(source), "-o", str(Path(folder) / "kernel.cubin")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"ptxas refuses {name} for {architecture}: {done.stderr.strip().splitlines()[0]}")
    reports = re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", done.stderr, re.DOTALL)
    return [_resources(entry, architecture, report) for entry, report in reports]


def _resources(name: str, architecture: str, report: str) -> Resources:
    def number(pattern: str) -> int:
        found = re.search(pattern, report)
        return int(found.group(1)) if found else 0

    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    sizes = (number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), number(r"(\d+) bytes stack frame"))
    return Resources(name, architecture, *sizes, spills)


def find_ptxas() -> Path:
    """The assembler of the CUDA 12 wheel, else the one on the path.

    Raises:
        KernelError: if there is none.
    """
    try:
        for folder in importlib.import_module("nvidia.cuda_nvcc").__path__:
            if (Path(folder) / "bin" / "ptxas").is_file():
                return Path(folder) / "bin" / "ptxas"
    except ImportError:
        pass
    found = shutil.which("ptxas")
    if found is None:
        raise KernelError("there is no ptxas, neither in a wheel nor on the path: pip install 'gearnn[compilers]'")
    return Path(found)


def main(arguments: Optional[List[str]] = None) -> int:
    """Print the table; exit code 1 if anything spills, 2 if it cannot be compiled."""
    parser = argparse.ArgumentParser(prog="python -m gearnn.kernels.compile_check", description=__doc__)
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), metavar="sm_XX")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    try:
        for row in check_kernels(tuple(options.architectures)):
            rows.append(row)
            if not options.json:
                figures = f"{row.registers:>4} registers {row.shared_bytes:>6} B shared {row.spill_bytes:>4} B spilled"
                print(f"{row.architecture}  {row.kernel:<40}{figures}", flush=True)
    except KernelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"results": [asdict(row) for row in rows]}, indent=2))
    return 1 if any(row.spill_bytes for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
