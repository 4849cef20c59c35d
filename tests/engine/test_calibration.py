"""Calibration: which images, what they cost, and the ranges they give."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, Iterator, List

import numpy as np
import onnxruntime as ort
import pytest
from torch import nn

from gearnn.engine.calibration import METHODS, batches, choose, collect
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.onnx_model import float_tensors, read_model


def values_of(model: Any, tensor: str, images: np.ndarray) -> np.ndarray:
    """A tensor inside the network, on all images at once."""
    copy = type(model).FromString(model.SerializeToString())
    copy.graph.output.extend(entry for entry in copy.graph.value_info if entry.name == tensor)
    session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([tensor], {"images": images})[0]


def test_images_are_chosen_by_seed_and_in_order() -> None:
    chosen = choose(1000, 64, seed=3)
    assert chosen.dtype == np.int64 and len(set(chosen.tolist())) == 64 and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, choose(1000, 64, seed=3))
    assert not np.array_equal(chosen, choose(1000, 64, seed=4))
    assert len(choose(10)) == 10 and len(choose(5000)) == 512


@pytest.mark.parametrize(("available", "count"), [(0, 5), (5, 0)])
def test_no_images_to_choose_from_are_an_error(available: int, count: int) -> None:
    with pytest.raises(EngineError, match="calibration needs images"):
        choose(available, count)


def test_batches_are_prepared_one_at_a_time(images: np.ndarray) -> None:
    sizes: List[int] = []

    def prepare(part: np.ndarray) -> np.ndarray:
        sizes.append(len(part))
        return part * 2

    stream = batches(images, choose(len(images), 50), prepare, 32)
    first = next(stream)
    assert sizes == [32]
    together = np.concatenate([first, *stream])
    np.testing.assert_array_equal(together, images[choose(len(images), 50)] * 2)


def test_the_extremes_are_those_of_all_images(onnx_file: Path, images: np.ndarray) -> None:
    model = read_model(onnx_file)
    tensors = float_tensors(model)
    found = collect(model, tensors, [images[:33], images[33:]])
    assert found.images == len(images) and found.method == "minmax"
    for tensor in tensors[:-1]:
        values = values_of(model, tensor, images)
        low, high = found.limits[tensor]
        np.testing.assert_allclose([low, high], [min(0, values.min()), max(0, values.max())], rtol=1e-4, atol=1e-6)


def test_percentiles_cut_off_what_numpy_says(onnx_file: Path, images: np.ndarray) -> None:
    model = read_model(onnx_file)
    tensor = float_tensors(model)[0]
    small_first = np.concatenate([images[:8] * 0.05, images])  # the histogram has to widen several times
    parts = [small_first[start : start + 4] for start in range(0, 78, 4)]
    low, high = collect(model, [tensor], parts, "percentile").limits[tensor]
    size = np.abs(values_of(model, tensor, small_first))
    assert max(-low, high) == pytest.approx(np.quantile(size, 0.9999), rel=5e-3)
    assert max(-low, high) < size.max()


def test_entropy_forgoes_outliers(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    nn.init.ones_(net[0].weight)
    model = read_model(export_onnx(net, (1, 16, 16), tmp_path / "a.onnx"))
    images = np.abs(np.random.default_rng(0).normal(size=(64, 1, 16, 16))).astype(np.float32)
    tensor = model.graph.node[0].output[0]
    usual = collect(model, [tensor], [images], "entropy").limits[tensor][1]
    assert 2 < usual <= images.max()
    images[3, 0, 5, 5] = 60
    assert collect(model, [tensor], [images], "entropy").limits[tensor][1] < 15
    assert collect(model, [tensor], [images]).limits[tensor][1] == pytest.approx(60)


def test_the_digest_knows_images_and_method_but_not_batches(onnx_file: Path, images: np.ndarray) -> None:
    model = read_model(onnx_file)
    tensor = float_tensors(model)[0]
    first = collect(model, [tensor], [images])
    assert collect(model, [tensor], lambda: (images[start : start + 7] for start in range(0, 70, 7))).sha256 == first.sha256
    changed = images.copy()
    changed[69, 2, 3, 4] += 1e-3
    others = [collect(model, [tensor], [changed]), collect(model, [tensor], [images[::-1]])]
    others += [collect(model, [tensor], [images], method) for method in METHODS[1:]]
    assert len({first.sha256, *(other.sha256 for other in others)}) == 5
    assert first.to_metadata()["calibration_sha256"] == first.sha256


def test_images_are_let_go_as_they_pass(onnx_file: Path) -> None:
    """Memory does not grow with the number of images."""
    alive: List[Any] = []
    most = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal most
        generator = np.random.default_rng(0)
        for _ in range(12):
            array = generator.random((16, 3, 16, 16), dtype=np.float32)
            alive.append(weakref.ref(array))
            yield array
            most = max(most, sum(reference() is not None for reference in alive))

    model = read_model(onnx_file)
    assert collect(model, float_tensors(model), stream(), "entropy").images == 192
    assert most <= 2


def test_few_images_go_through_a_large_network_at_once(
    onnx_file: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gearnn.engine import calibration

    seen: List[int] = []
    run = calibration._run
    monkeypatch.setattr(calibration, "_run", lambda *given: seen.append(len(given[-1])) or run(*given))
    model = read_model(onnx_file)
    collect(model, float_tensors(model), [images, images])
    assert max(seen) == 70
    seen.clear()
    each = sum(values_of(model, tensor, images[:1]).nbytes for tensor in float_tensors(model)[:-1])
    monkeypatch.setattr(calibration, "_WORKING_SET", each * 5)
    collect(model, float_tensors(model), [images, images])
    assert max(seen) <= 5


def test_networks_of_a_fixed_batch_get_such_batches(small_net: nn.Module, tmp_path: Path, images: np.ndarray) -> None:
    fixed = read_model(export_onnx(small_net, (3, 16, 16), tmp_path / "fixed.onnx", batch=8))
    free = read_model(export_onnx(small_net, (3, 16, 16), tmp_path / "free.onnx"))
    tensors = float_tensors(free)
    for tensor, limits in collect(free, tensors, [images]).limits.items():
        np.testing.assert_allclose(collect(fixed, tensors, [images]).limits[tensor], limits, rtol=1e-4, atol=1e-6)


def test_progress_is_told_of_every_array(onnx_file: Path, images: np.ndarray) -> None:
    calls: List[Any] = []
    model = read_model(onnx_file)
    collect(model, float_tensors(model), [images[:20], images[20:]], progress=lambda *call: calls.append(call))
    assert calls == [("calibrating", 1, 2), ("calibrating", 2, 2)]


WRONG = {
    "no images were given|no calibration images": [],
    "is empty": [np.zeros((0, 3, 16, 16), np.float32)],
    "hold the one value": [np.full((4, 3, 16, 16), 0.5, np.float32)],
    "of shape \\(any, 3, 16, 16\\).*got float32 \\(4, 16, 16, 3\\)": [
        np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    ],
    "must be float32 arrays .* got uint8": [np.random.default_rng(0).integers(0, 9, (4, 3, 16, 16), np.uint8)],
    "got list": [[[1.0]]],
    "not finite: check how": [np.array([np.nan, 1], np.float32).repeat(384).reshape(1, 3, 16, 16)],
}


@pytest.mark.parametrize("message", list(WRONG))
def test_wrong_images_are_refused_in_a_sentence(message: str, onnx_file: Path) -> None:
    model = read_model(onnx_file)
    with pytest.raises(EngineError, match=message):
        collect(model, float_tensors(model), WRONG[message])


def test_unknown_methods_and_networks_that_overflow_are_refused(onnx_file: Path, images: np.ndarray) -> None:
    model = read_model(onnx_file)
    with pytest.raises(EngineError, match="no calibration method 'best'.*minmax, percentile, entropy"):
        collect(model, float_tensors(model), [images], "best")
    with pytest.raises(EngineError, match="the network gives values that are not finite"):
        collect(model, float_tensors(model), [images * np.float32(1e38)])
