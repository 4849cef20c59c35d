"""Networks in the engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import numpy as np
import pytest

from gearnn.engine.runtimes import load_runtime
from gearnn.measure import deploy, latencies, time_engine
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network


@pytest.mark.parametrize("arch", ["vgg19", "mobilenet_v1", "resnet18"])
def test_deploys_and_times(arch: str, tmp_path: Path) -> None:
    card = Card(arch, scaled_widths(arch, 1 / 16), ("a", "b", "c"), (0.4,), (0.3,), 16, 1)
    save_network(tmp_path / "net.safetensors", card.build(), card)
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 16, 16), dtype=np.uint8)
    facts = deploy(tmp_path / "net.safetensors", tmp_path / "net.onnx", images, threads=1)
    assert facts["comparison"]["max_abs"] < 1e-4
    assert facts["comparison"]["n"] == 8
    assert facts["widths"] == list(card.widths)
    assert facts["onnx_bytes"] > 4 * 0.9 * facts["params"]
    times = time_engine(tmp_path / "net.onnx", threads=1, seed=0)
    assert times["runtime"] == "onnxruntime"
    assert times["latency"][0]["batch"] == 1
    assert times["latency_ms_p50"] > 0
    assert sum(layer["share"] for layer in times["layers"]) == pytest.approx(1)
    assert any(layer["modules"] and layer["mean_ms"] > 0 for layer in times["layers"])
    found = latencies({"one": tmp_path / "net.onnx", "two": tmp_path / "net.onnx"}, threads=1, seed=0)
    assert list(found) == ["one", "two"]
    assert all(0 < time < 100 * times["latency_ms_p50"] for time in found.values())


def test_latencies_are_timed_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: List[str] = []

    def profiled(runtime: Any, *rest: Any, **options: Any) -> List[Any]:
        order.append(runtime.path.stem)
        return [SimpleNamespace(p50_ms=float(len(order)))]

    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.4,), (0.3,), 16, 1)
    save_network(tmp_path / "net.safetensors", card.build(), card)
    for name in ("a", "b"):
        deploy(
            tmp_path / "net.safetensors",
            tmp_path / f"{name}.onnx",
            np.arange(512, dtype=np.uint8).reshape(2, 1, 16, 16),
            1,
            check=False,
        )
    monkeypatch.setattr("gearnn.engine.profile.profile_latency", profiled)
    assert latencies({name: tmp_path / f"{name}.onnx" for name in "ab"}, threads=1, seed=0) == {"a": 5.0, "b": 6.0}
    assert "".join(order) == "ab" * 5


@pytest.mark.parametrize("options", [{"pixels": True}, {"batch": 3}])
def test_deploys_with_other_inputs_and_metadata(tmp_path: Path, options: Dict[str, Any]) -> None:
    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b", "c"), (0.4,) * 3, (0.3,) * 3, 32, 3)
    save_network(tmp_path / "net.safetensors", card.build(), card)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    facts = deploy(tmp_path / "net.safetensors", tmp_path / "net.onnx", images, 1, metadata={"growth": "{}"}, **options)
    assert facts["comparison"]["n"] == (9 if "batch" in options else 8)
    with load_runtime(tmp_path / "net.onnx", threads=1) as runtime:
        assert runtime.input_shape == ((None, 32, 32, 3) if "pixels" in options else (3, 3, 32, 32))
        assert (runtime.metadata["growth"], runtime.metadata["classes"]) == ("{}", '["a", "b", "c"]')
