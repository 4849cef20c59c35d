"""Finding TensorRT, what its versions offer, and its logger."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.tensorrt_api import find, wrap


def test_not_installed_is_one_sentence_with_the_cure_for_a_board_and_for_a_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        EngineError, match="tensorrt is not installed.*python3-libnvinfer.*--system-site-packages.*pip install tensorrt"
    ):
        find("tensorrt")
    with pytest.raises(EngineError, match="tensorrt is not installed and tensorrt_rtx is not installed"):
        find()
    with pytest.raises(EngineError, match="pip install tensorrt-rtx"):
        find("tensorrt_rtx")


def test_an_unknown_flavour_is_refused() -> None:
    with pytest.raises(EngineError, match="'trt'.*tensorrt_rtx"):
        find("trt")


@pytest.mark.parametrize(
    "content", ["raise RuntimeError('no libnvinfer')", "raise OSError('libnvinfer.so.8: cannot open')", "x = 1"]
)
def test_a_broken_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "tensorrt.py").write_text(content + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match="tensorrt is installed but does not import"):
        find("tensorrt")
    sys.modules.pop("tensorrt", None)


def test_what_each_version_offers_is_read_off_its_attributes(trt_fakes: ModuleType) -> None:
    old, ten, eleven = (wrap(trt_fakes.fake(version), "tensorrt") for version in ("8.5.3", "10.3.0", "11.1.0"))
    assert [trt.features.precision_flags for trt in (old, ten, eleven)] == [True, True, False]
    assert [trt.typed_by_file for trt in (old, ten, eleven)] == [False, False, True]
    assert [trt.features.calibrator for trt in (old, ten, eleven)] == [True, True, False]
    assert [trt.features.explicit_batch_flag for trt in (old, ten, eleven)] == [True, True, False]
    assert [trt.features.strongly_typed for trt in (old, ten, eleven)] == [False, True, True]
    assert [trt.features.optimization_level for trt in (old, ten, eleven)] == [False, True, True]
    assert [trt.features.version_compatible for trt in (old, ten, eleven)] == [False, True, True]
    assert [trt.features.progress_monitor for trt in (old, ten, eleven)] == [False, True, True]
    assert all(trt.features.dla and trt.features.timing_cache for trt in (old, ten, eleven))
    assert not any(trt.features.compute_capabilities for trt in (old, ten, eleven))


def test_the_logger_keeps_errors_and_hushes_the_rest(trt_fakes: ModuleType, capfd: pytest.CaptureFixture) -> None:
    trt = wrap(trt_fakes.fake("8.5.3"), "tensorrt")
    logger = trt.logger()
    for severity, message in zip(range(5), ("internal", "error", "warning", "info", "verbose")):
        logger.log(severity, message)
    assert (logger.errors, logger.warnings) == (["internal", "error"], ["warning"])
    assert capfd.readouterr() == ("", "")
    trt.logger(verbose=True).log(3, "choosing tactics")
    assert capfd.readouterr().err == "tensorrt: choosing tactics\n"


def test_tensorrt_rtx_as_it_is() -> None:
    pytest.importorskip("tensorrt_rtx", reason="the flavour of TensorRT that works without a GPU is not installed")
    trt = find("tensorrt_rtx")
    assert trt.flavour == "tensorrt_rtx" and trt.version[0].isdigit()
    assert trt.typed_by_file and trt.features.compute_capabilities and not trt.features.timing_cache
    logger = trt.logger()
    builder = trt.module.Builder(logger)
    network = builder.create_network(0)  # TensorRT's objects do not hold each other
    parser = trt.module.OnnxParser(network, logger)
    assert not parser.parse(b"not an ONNX file")
    assert logger.errors
