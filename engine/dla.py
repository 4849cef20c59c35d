"""Building for a Jetson's deep learning accelerator (DLA): what it takes, and which layers it leaves to the GPU.

The DLA runs FP16 and INT8 at one fixed shape, takes no Q/DQ nodes, and gets its INT8 ranges from a calibrator instead (NVIDIA's
TensorRT documentation, "Working with DLA"). Not run on hardware.
"""

from __future__ import annotations

from typing import Any, List, Tuple

from gearnn.engine.errors import EngineError
from gearnn.engine.tensorrt_api import TensorRT


def check_dla(trt: TensorRT, builder: Any, core: int, precision: str, quantized: bool, batch: Tuple[int, int, int]) -> None:
    """Do nothing if a network can be built for this DLA core.

    Args:
        precision: asked for.
        quantized: whether the ONNX file holds Q/DQ nodes.
        batch: smallest, best and largest.

    Raises:
        EngineError: saying what the DLA or this TensorRT does not take.
    """
    cores = builder.num_DLA_cores if trt.features.dla else 0
    if not 0 <= core < cores:
        there = f"has DLA cores 0 to {cores - 1}" if cores else "has no DLA that this TensorRT can use"
        raise EngineError(f"there is no DLA core {core}, since this machine {there}: choose another --dla-core, or leave it out")
    if precision == "fp32":
        raise EngineError("the DLA runs FP16 and INT8 only: add --precision fp16 or --precision int8")
    if quantized:
        raise EngineError(
            "the DLA takes no Q/DQ nodes: build from the FP32 file with --precision int8 and calibration images (--data), "
            "or build this file for the GPU without --dla-core"
        )
    if precision == "int8" and not trt.features.calibrator:
        raise EngineError(f"{trt.flavour} {trt.version} has no calibrator, which INT8 on the DLA needs: use --precision fp16")
    if len(set(batch)) != 1:
        raise EngineError(
            f"the DLA runs one batch size, not {batch[0]} to {batch[2]}: give a single one, such as --batch {batch[1]}"
        )
    if trt.features.precision_flags and batch[0] > builder.max_DLA_batch_size:
        raise EngineError(f"the DLA takes batches up to {builder.max_DLA_batch_size}, not {batch[0]}: choose a smaller --batch")


def use_dla(trt: TensorRT, config: Any, network: Any, core: int) -> List[str]:
    """Send every layer to a DLA core, those it cannot run to the GPU; to be called once precisions are set.

    Returns:
        Names of the layers that the GPU runs.
    """
    config.default_device_type = trt.module.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.module.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
