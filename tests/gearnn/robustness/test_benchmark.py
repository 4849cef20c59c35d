"""The score."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.data import Split
from gearnn.errors import UserError
from gearnn.robustness import CORRUPTIONS, benchmark, benchmark_models, corrupt


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
    assert plain["n"] == len(split.labels)


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
