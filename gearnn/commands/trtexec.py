"""trtexec's flag names, understood by ``gearnn build``: people have them in scripts and in their fingers.

The names are those of trtexec 8.5 to 10 (NVIDIA/TensorRT, samples/common/sampleOptions.cpp, tags 8.5.3 and v10.3.0).
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Sequence

from gearnn.errors import UserError

_VALUED = {
    "--saveEngine": "--out",
    "--timingCacheFile": "--timing-cache",
    "--useDLACore": "--dla-core",
    "--builderOptimizationLevel": "--optimization-level",
    "--workspace": "--workspace-mb",
}
_BARE = {"--versionCompatible": "--version-compatible", "--vc": "--version-compatible"}
# What this command does in any case: build only, with explicit batches, detailed layers, and the GPU for what the DLA cannot run.
_GIVEN = ("--allowGPUFallback", "--explicitBatch", "--buildOnly", "--skipInference", "--profilingVerbosity")
_SHAPES = ("--minShapes", "--optShapes", "--maxShapes")
_PRECISIONS = ("--fp16", "--int8")
_RUNS = (
    "loadEngine", "loadInputs", "warmUp", "iterations", "duration", "avgRuns", "streams", "infStreams", "useCudaGraph",
    "useSpinWait", "noDataTransfers", "dumpProfile", "exportProfile", "exportTimes", "exportLayerInfo", "dumpLayerInfo",
    "separateProfileRun", "percentile", "threads",
)  # fmt: skip
_INSTEAD = {
    **{f"--{name}": "gearnn build only builds, gearnn profile times an engine" for name in _RUNS},
    "--best": "use --precision fp16 or --precision int8",
    "--noBuilderCache": "use --timing-cache off",
    "--calib": "use --data with the folder of calibration images",
    "--noTF32": "TF32 is left as TensorRT has it",
    "--stronglyTyped": "use --precision auto with an FP16 or Q/DQ file",
    "--maxBatch": "use --batch min:opt:max",
}
_TRTEXEC_ONLY = re.compile(r"--[a-z]+[A-Z0-9][A-Za-z0-9]*$")  # camelCase, which our own options never are
_POOL = re.compile(r"workspace:(\d+(?:\.\d+)?)([BKMG]?)$")
_MIB = {"": 1.0, "B": 2.0**-20, "K": 2.0**-10, "M": 1.0, "G": 2.0**10}


def translate(arguments: Sequence[str]) -> List[str]:
    """The same request in the options of ``gearnn build``; what is not trtexec's is passed on as it is.

    Raises:
        UserError: for a flag of trtexec's that has no counterpart, naming what to use.
    """
    ours: List[str] = []
    shapes: Dict[str, str] = {}
    precisions = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, equals, text = word.partition("=")
        take = _taker(flag, text if equals else None, rest)
        if flag == "--onnx":
            ours.insert(0, take())
        elif flag in _VALUED:
            ours += [_VALUED[flag], take()]
        elif flag in _BARE:
            ours.append(_BARE[flag])
        elif flag in _PRECISIONS:
            precisions.append(flag[2:])
        elif flag in _SHAPES:
            shapes[flag] = _batch_of(flag, take())
        elif flag == "--shapes":
            shapes = dict.fromkeys(_SHAPES, _batch_of(flag, take()))
        elif flag == "--memPoolSize":
            ours += ["--workspace-mb", _workspace(take())]
        elif flag in _INSTEAD:
            raise UserError(f"{flag} is not an option of gearnn build: {_INSTEAD[flag]}")
        elif flag not in _GIVEN:
            if _TRTEXEC_ONLY.match(flag):
                raise UserError(
                    f"trtexec's {flag} has no counterpart here: leave it out, or see gearnn build --help for what there is"
                )
            ours.append(word)
    if precisions:
        ours += ["--precision", "int8" if "int8" in precisions else "fp16"]
    return ours + _batch(shapes)


def _taker(flag: str, given: Optional[str], rest: List[str]) -> Callable[[], str]:
    """A function that gives a flag's value, written after "=" or as the next word."""

    def take() -> str:
        if given is not None:
            return given
        if not rest:
            raise UserError(f"{flag} needs a value: write {flag}=VALUE")
        return rest.pop(0)

    return take


def _batch_of(flag: str, text: str) -> str:
    """The batch size in "images:1x3x32x32"."""
    sizes = text.rpartition(":")[2].split("x")
    if "," in text or len(sizes) != 4 or not all(size.isdigit() for size in sizes):
        raise UserError(
            f"{flag} {text!r} is not the shape of one input: write {flag}=images:1x3x32x32, or use --batch min:opt:max"
        )
    return sizes[0]


def _batch(shapes: Dict[str, str]) -> List[str]:
    if not shapes:
        return []
    missing = [flag for flag in _SHAPES if flag not in shapes]
    if missing:
        raise UserError(f"{', '.join(shapes)} came without {', '.join(missing)}: give all three, or use --batch min:opt:max")
    return ["--batch", ":".join(shapes[flag] for flag in _SHAPES)]


def _workspace(text: str) -> str:
    """MiB in "workspace:512", the unit that trtexec takes where none is named."""
    match = _POOL.match(text)
    if match is None:
        raise UserError(
            f"--memPoolSize {text!r} is not taken: only the workspace can be limited, as in --memPoolSize=workspace:512"
        )
    return str(max(1, round(float(match[1]) * _MIB[match[2]])))
