"""What the deep learning accelerator does not take is said before TensorRT is asked."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from gearnn.engine.dla import check_dla, use_dla
from gearnn.engine.errors import EngineError
from gearnn.engine.tensorrt_api import wrap

GOOD = {"core": 0, "precision": "fp16", "quantized": False, "batch": (2, 2, 2)}


def _machine(trt_fakes: ModuleType, version: str = "8.5.3", cores: int = 2) -> Any:
    trt = wrap(trt_fakes.fake(version, dla_cores=cores), "tensorrt")
    return trt, trt.module.Builder(trt.logger())


def test_what_it_takes_passes(trt_fakes: ModuleType) -> None:
    for version in trt_fakes.VERSIONS:
        check_dla(*_machine(trt_fakes, version), **GOOD)
    check_dla(*_machine(trt_fakes), **{**GOOD, "precision": "int8"})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"core": 2}, "no DLA core 2, since this machine has DLA cores 0 to 1"),
        ({"core": -1}, "no DLA core -1"),
        ({"precision": "fp32"}, "FP16 and INT8 only"),
        ({"precision": "int8", "quantized": True}, "takes no Q/DQ nodes: build from the FP32 file with --precision int8.*--data"),
        ({"batch": (1, 4, 8)}, "one batch size, not 1 to 8.*--batch 4"),
        ({"batch": (64, 64, 64)}, "batches up to 16, not 64"),
    ],
)
def test_what_it_does_not_take_is_one_sentence(trt_fakes: ModuleType, change: Any, sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        check_dla(*_machine(trt_fakes), **{**GOOD, **change})


def test_without_one_or_without_a_calibrator(trt_fakes: ModuleType) -> None:
    with pytest.raises(EngineError, match="this machine has no DLA"):
        check_dla(*_machine(trt_fakes, cores=0), **GOOD)
    with pytest.raises(EngineError, match="tensorrt 11.1.0 has no calibrator"):
        check_dla(*_machine(trt_fakes, "11.1.0"), **{**GOOD, "precision": "int8"})


def test_layers_left_to_the_gpu_are_named(trt_fakes: ModuleType) -> None:
    trt = wrap(trt_fakes.fake("8.5.3", dla_cores=1, gpu_layers=("resize",)), "tensorrt")
    layers = [type("Layer", (), {"name": name}) for name in ("conv", "resize", "relu")]
    network = type("Network", (), {"num_layers": 3, "get_layer": staticmethod(lambda index: layers[index])})
    config = trt.module.IBuilderConfig()
    config.set_flag(trt.module.BuilderFlag.FP16)
    assert use_dla(trt, config, network, 0) == ["resize"]
    assert config.DLA_core == 0 and config._flags == {"FP16", "GPU_FALLBACK"}
