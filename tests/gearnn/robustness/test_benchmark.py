"""The score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.data import Split
from gearnn.errors import UserError
from gearnn.robustness import (
    ALL_CORRUPTIONS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    CorruptionCache,
    benchmark,
    benchmark_models,
    corrupt,
)
from gearnn.robustness.scores import bootstrap_interval, calibration_error, confidence_gaps


@pytest.fixture()
def split(photos: np.ndarray) -> Split:
    """Labelled by whether an image is brighter than the median one."""
    brightness = photos.mean(axis=(1, 2, 3))
    return Split(photos, (brightness > np.median(brightness)).astype(np.int64))


class Brightness(nn.Module):
    """Tells bright images from dark ones by a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        excess = images.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([-excess, excess], dim=1)


def _threshold(split: Split) -> float:
    return float(np.median(split.images.mean(axis=(1, 2, 3))) / 255)


def test_scores_are_what_they_say(split: Split) -> None:
    model = Brightness(_threshold(split)).train()
    report = benchmark(model, split, corruptions=("brightness", "gaussian_noise"), severities=(1, 5), batch_size=7)
    assert report.clean == 1.0
    assert model.training
    for column, severity in enumerate((1, 5)):
        bright = corrupt(split.images, "brightness", severity).mean(axis=(1, 2, 3)) / 255 > _threshold(split)
        assert report.per_corruption["brightness"][column] == pytest.approx(np.mean(bright == split.labels))
    assert report.per_corruption["brightness"][1] < report.per_corruption["gaussian_noise"][1]
    assert report.robust == pytest.approx(np.mean([value for row in report.per_corruption.values() for value in row]))


def test_several_models_see_the_same_images(split: Split) -> None:
    models = {"good": Brightness(_threshold(split)), "bad": Brightness(0.9)}
    options = {"corruptions": ("snow", "frost"), "severities": (2,), "seed": 3}
    together = benchmark_models(models, split, **options)
    assert together["good"] == benchmark(models["good"], split, **options)
    assert together["bad"] == benchmark(models["bad"], split, **options)
    assert together["good"].clean > together["bad"].clean


def test_runtimes_and_functions_are_models_too(split: Split) -> None:
    module = Brightness(_threshold(split))

    class Engine:
        """As an inference runtime: float32 in [0, 1]."""

        def run(self, images: np.ndarray) -> np.ndarray:
            assert images.dtype == np.float32
            with torch.no_grad():
                return module(torch.from_numpy(images)).numpy()

    def function(images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        return Engine().run(images.astype(np.float32) / 255)

    reports = benchmark_models({"a": module, "b": Engine(), "c": function}, split, corruptions=("fog",), severities=(3,))
    assert reports["a"] == reports["b"] == reports["c"]


def test_progress_and_json(split: Split) -> None:
    seen = []
    model = Brightness(_threshold(split))
    report = benchmark(model, split, severities=(1,), progress=lambda label, done, total: seen.append((done, total)))
    assert seen == [(done, 15) for done in range(1, 16)]
    plain = json.loads(report.to_json())
    assert plain == report.to_dict()
    assert plain["kind"] == "generated"
    assert list(plain["per_corruption"]) == list(CORRUPTIONS)
    assert plain["n"] == plain["n_clean"] == len(split.labels)
    assert plain["parameters"] == "cifar"
    assert plain["mce"] is plain["extra"] is None
    assert "hits" not in plain
    assert len(report.to_json()) < 5000


def test_nothing_to_measure_is_an_error(split: Split) -> None:
    with pytest.raises(UserError, match="did you mean"):
        benchmark(Brightness(0.5), split, corruptions=("gausian_noise",))
    with pytest.raises(UserError, match="at least one"):
        benchmark(Brightness(0.5), Split(split.images[:0], split.labels[:0]))


def test_every_part_keeps_its_own_mode(split: Split) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.free, self.frozen, self.score = nn.Dropout(), nn.BatchNorm2d(3), Brightness(_threshold(split))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not self.training and not self.free.training
            return self.score(self.frozen(self.free(images)))

        def run(self) -> None:
            raise AssertionError("a torch module is not an engine runtime")

    net = Net().train()
    net.frozen.eval()
    benchmark(net, split, corruptions=("fog",), severities=(1,))
    assert net.training and net.free.training and not net.frozen.training

    def broken(images: np.ndarray) -> np.ndarray:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        benchmark_models({"net": net, "broken": broken}, split, corruptions=("fog",), severities=(1,))
    assert net.training and not net.frozen.training


def test_models_that_cannot_be_asked_are_errors(split: Split) -> None:
    with pytest.raises(UserError, match="'model' is a str"):
        benchmark("model.onnx", split)
    with pytest.raises(UserError, match=r"\(images, classes\)"):
        benchmark(lambda images: np.zeros(len(images)), split)


def test_senseless_requests_are_errors(split: Split) -> None:
    model = Brightness(0.5)
    with pytest.raises(UserError, match="twice"):
        benchmark(model, split, corruptions=("fog", "fog"))
    with pytest.raises(UserError, match="twice"):
        benchmark(model, split, severities=(1, 1))
    with pytest.raises(UserError, match="batch_size"):
        benchmark(model, split, batch_size=0)
    with pytest.raises(UserError, match="a label for each"):
        benchmark(model, Split(split.images, split.labels[:-1]))


def _logits(split: Split, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return Brightness(_threshold(split))(torch.from_numpy(images).float() / 255).numpy()


def test_everything_follows_from_the_logits_of_each_image(split: Split) -> None:
    names, severities = ("brightness", "contrast", "speckle_noise", "saturate"), (2, 5)
    report = benchmark(
        Brightness(_threshold(split)), split, corruptions=names, severities=severities, batch_size=11, seed=4, workers=2
    )
    logits = {(name, s): _logits(split, corrupt(split.images, name, s, seed=4)) for name in names for s in severities}
    right = {cell: values.argmax(1) == split.labels for cell, values in logits.items()}
    counted = [cell for cell in right if cell[0] in names[:2]]
    accuracy = {cell: float(values.mean()) for cell, values in right.items()}
    assert report.robust == pytest.approx(np.mean([accuracy[cell] for cell in counted]))
    assert report.extra == pytest.approx(np.mean([accuracy[name, s] for name in names[2:] for s in severities]))
    assert set(report.per_corruption) == set(names[:2])
    assert report.per_corruption_extra == {name: tuple(accuracy[name, s] for s in severities) for name in names[2:]}
    assert report.per_severity == pytest.approx([np.mean([accuracy[name, s] for name in names[:2]]) for s in severities])
    assert len(set(report.per_severity)) == 2
    errors = [calibration_error(confidence_gaps(logits[cell], split.labels), len(split.labels)) for cell in counted]
    assert report.robust_ece == pytest.approx(np.mean(errors), abs=1e-6)
    clean = confidence_gaps(_logits(split, split.images), split.labels)
    assert report.clean_ece == pytest.approx(calibration_error(clean, len(split.labels)), abs=1e-6)
    hits = np.sum([right[cell] for cell in counted], axis=0)
    assert report.hits is not None and report.hits.dtype == np.uint16
    np.testing.assert_array_equal(report.hits, hits)
    assert report.robust_interval == bootstrap_interval(hits / 4, seed=4)
    assert report.robust_interval[0] < report.robust < report.robust_interval[1]
    assert report.clean_interval == (1, 1)


def test_the_extra_four_do_not_count(split: Split) -> None:
    model = Brightness(_threshold(split))
    with_extra = benchmark(model, split, corruptions=ALL_CORRUPTIONS, severities=(3,))
    without = benchmark(model, split, severities=(3,))
    assert tuple(with_extra.per_corruption_extra) == EXTRA_CORRUPTIONS
    assert (with_extra.robust, with_extra.robust_ece, with_extra.per_corruption) == (
        without.robust,
        without.robust_ece,
        without.per_corruption,
    )
    assert with_extra.robust_interval == without.robust_interval
    with pytest.raises(UserError, match="leaves out speckle_noise"):
        benchmark(model, split, corruptions=("speckle_noise",))


def test_mce_needs_a_baseline_on_the_same_images(split: Split) -> None:
    models = {"good": Brightness(_threshold(split)), "bad": Brightness(0.6)}
    reports = benchmark_models(models, split, corruptions=("brightness", "fog"), severities=(3, 5))
    good, bad = reports["good"], reports["bad"]
    assert good.mce is None
    ratios = [(2 - sum(good.per_corruption[name])) / (2 - sum(bad.per_corruption[name])) for name in ("brightness", "fog")]
    assert ratios[0] != ratios[1]
    assert good.against(bad).mce == pytest.approx(np.mean(ratios))
    assert good.against(good).mce == pytest.approx(1)
    assert good.against(bad) != good
    other = benchmark(models["bad"], split, corruptions=("brightness", "fog"), severities=(3, 4))
    with pytest.raises(UserError, match="same corrupted images"):
        good.against(other)


def test_neither_batches_nor_workers_nor_a_cache_change_the_report(split: Split, tmp_path: Path) -> None:
    def measured(**options: object) -> object:
        return benchmark(Brightness(_threshold(split)), split, corruptions=("shot_noise", "frost"), severities=(1, 5), **options)

    expected = measured(batch_size=48)
    cache = CorruptionCache(tmp_path)
    for options in ({"batch_size": 5}, {"workers": 3, "batch_size": 9}, {"cache": cache}, {"cache": cache, "batch_size": 13}):
        found = measured(**options)
        # confidences may differ in their last bits when batches do
        assert found.clean_ece == pytest.approx(expected.clean_ece, abs=1e-5)
        assert {**found.to_dict(), "clean_ece": 0, "robust_ece": 0} == {**expected.to_dict(), "clean_ece": 0, "robust_ece": 0}
        np.testing.assert_array_equal(found.hits, expected.hits)


def test_a_model_that_fails_leaves_nothing_half_written(split: Split, tmp_path: Path) -> None:
    seen = []

    def fails_later(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        if len(seen) == 10:  # 6 clean batches, then the fourth of fog
            raise RuntimeError("broken")
        return _logits(split, images)

    with pytest.raises(RuntimeError, match="broken"):
        benchmark(fails_later, split, corruptions=("fog", "snow"), severities=(1,), batch_size=8, cache=CorruptionCache(tmp_path))
    assert [path.suffix for path in tmp_path.iterdir()] == []


def test_logits_that_are_no_numbers_leave_calibration_out(split: Split) -> None:
    def overflows(images: np.ndarray) -> np.ndarray:
        return np.where(np.arange(2) == 0, np.inf, _logits(split, images))

    report = benchmark(overflows, split, corruptions=("fog",), severities=(1,))
    assert report.clean_ece is None and report.robust_ece is None
    assert report.clean == pytest.approx(np.mean(split.labels == 0))
    json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))
