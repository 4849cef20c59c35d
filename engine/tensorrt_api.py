"""TensorRT 8.5 to 11 and TensorRT-RTX behind one set of questions: which is here, and what can it do.

What a version offers is read off its module's attributes and never concluded from its number. The names asked for are those of
NVIDIA's Python bindings (NVIDIA/TensorRT, python/src/infer/pyCore.cpp, at the tags 8.5.3, v10.3.0 and v11.1).
TensorRT-RTX 1.7 was run; 8.5, 10 and 11 were not run on hardware.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from typing import Any, List, Optional

from gearnn.engine.errors import EngineError, reason

FLAVOURS = ("tensorrt", "tensorrt_rtx")
_CURE = (
    "on a Jetson it comes with JetPack (sudo apt install python3-libnvinfer, and make the virtual environment with "
    "--system-site-packages), on a desktop: pip install "
)


@dataclass(frozen=True)
class Features:
    """What a TensorRT offers.

    Attributes:
        explicit_batch_flag: networks must be asked for with an explicit batch axis (8.5; always so from 10 on).
        precision_flags: FP16 and INT8 are builder flags (8 and 10).
        strongly_typed: networks can take their precisions from the ONNX file (from 9 on; the only way in 11 and RTX).
        calibrator: ranges for INT8 can be found by an entropy calibrator (8 and 10).
        optimization_level: how hard to search can be chosen (from 8.6 on).
        version_compatible: engines can be made to run on other versions of the same major one (from 8.6 on).
        progress_monitor: phases of a build are reported (from 10 on); too few to make a bar of.
        timing_cache: measured tactics can be kept for the next build (not RTX, which measures when the engine is loaded).
        dla: layers can be given to a deep learning accelerator; whether the machine has one, the builder says.
        compute_capabilities: engines can be built ahead of time for GPUs that are not here (RTX).
    """

    explicit_batch_flag: bool
    precision_flags: bool
    strongly_typed: bool
    calibrator: bool
    optimization_level: bool
    version_compatible: bool
    progress_monitor: bool
    timing_cache: bool
    dla: bool
    compute_capabilities: bool


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT.

    Attributes:
        module: the module itself.
        flavour: "tensorrt" or "tensorrt_rtx".
        version: such as "8.5.2.2".
        features: what it offers.
    """

    module: Any
    flavour: str
    version: str
    features: Features = field(repr=False)

    @property
    def typed_by_file(self) -> bool:
        """Whether precisions come from the ONNX file: always where there are no flags for them."""
        return not self.features.precision_flags

    def logger(self, verbose: bool = False) -> Any:
        """A new logger; keep it for as long as anything that was made with it.

        ``errors`` and ``warnings`` (lists of str) hold what was logged, in its order; nothing is printed, unless ``verbose``:
        then all of it goes to standard error.
        """
        severity = self.module.ILogger

        class Logger(self.module.ILogger):  # type: ignore[name-defined]
            def __init__(self) -> None:
                # Without this call the bindings crash (pybind11: the base of a trampoline must be initialised).
                severity.__init__(self)
                self.errors: List[str] = []
                self.warnings: List[str] = []

            def log(self, level: Any, message: str) -> None:
                if level in (severity.INTERNAL_ERROR, severity.ERROR):
                    self.errors.append(message)
                elif level == severity.WARNING:
                    self.warnings.append(message)
                if verbose:
                    print(f"{self_name}: {message}", file=sys.stderr)

        self_name = self.flavour
        return Logger()


def find(flavour: Optional[str] = None) -> TensorRT:
    """Import TensorRT.

    Args:
        flavour: "tensorrt" or "tensorrt_rtx"; None or "auto" takes the first of them that imports.

    Raises:
        EngineError: if it is not installed or does not import, or for an unknown flavour.
    """
    if flavour not in (None, "auto", *FLAVOURS):
        raise EngineError(f"there is no TensorRT called {flavour!r}: choose auto, tensorrt or tensorrt_rtx")
    wanted = FLAVOURS if flavour in (None, "auto") else (str(flavour),)
    failures = []
    for name in wanted:
        try:
            return wrap(importlib.import_module(name), name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            failures.append(f"{name} is not installed" if missing == name else f"{name} lacks the package {missing}")
        # A wheel whose libraries are missing or too new for the driver fails in ways of its own.
        except (ImportError, OSError, RuntimeError, AttributeError, KeyError) as error:
            failures.append(f"{name} is installed but does not import ({reason(error)})")
    raise EngineError(f"{' and '.join(failures)}: {_CURE}{wanted[0].replace('_', '-')}")


def wrap(module: Any, flavour: str) -> TensorRT:
    """A module as this project sees it; raises AttributeError if it is not a TensorRT of 8.5 or later."""
    flags, config = module.BuilderFlag, module.IBuilderConfig
    networks = module.NetworkDefinitionCreationFlag
    features = Features(
        explicit_batch_flag=hasattr(networks, "EXPLICIT_BATCH"),
        precision_flags=hasattr(flags, "FP16") and hasattr(flags, "INT8") and flavour != "tensorrt_rtx",
        strongly_typed=hasattr(networks, "STRONGLY_TYPED"),
        calibrator=hasattr(module, "IInt8EntropyCalibrator2") and hasattr(config, "int8_calibrator"),
        optimization_level=hasattr(config, "builder_optimization_level"),
        version_compatible=hasattr(flags, "VERSION_COMPATIBLE"),
        progress_monitor=hasattr(config, "progress_monitor"),
        timing_cache=hasattr(config, "create_timing_cache") and flavour != "tensorrt_rtx",
        dla=hasattr(module.DeviceType, "DLA") and hasattr(config, "can_run_on_DLA"),
        compute_capabilities=hasattr(config, "set_compute_capability"),
    )
    return TensorRT(module, flavour, str(module.__version__), features)
