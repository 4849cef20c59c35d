from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest

from gearnn.bundling import BundleOptions, bundle_run, fastest_ready
from gearnn.errors import UserError
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network


def entry(milliseconds: float, ready: bool = True) -> dict:
    return {"latency_ms_p50": milliseconds, "ready": ready}


def test_the_default_is_fp32_unless_another_is_ready_and_clearly_faster() -> None:
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.95), "int8": entry(1.4)}) == "fp32"
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.8), "int8": entry(0.5)}) == "int8"
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.8), "int8": entry(0.5, ready=False)}) == "fp16"


def test_other_images_than_the_runs_own_are_noticed(tiny_run: Path, tmp_path: Path) -> None:
    options = BundleOptions(precisions=("fp32",), severities=(1,), threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bundle_run(tiny_run, tmp_path / "same", options)
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "clean_accuracy": result["clean_accuracy"] - 0.1}))
    with pytest.warns(RuntimeWarning, match="name the run's own with --data"):
        bundle_run(run, tmp_path / "other", options)


def test_a_run_that_lost_its_network_or_has_anothers(tiny_run: Path, tmp_path: Path) -> None:
    options, out = BundleOptions(precisions=("fp32",), severities=(1,), threads=1), tmp_path / "out"
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.4,), (0.3,), 64, 1)
    save_network(run / "model.safetensors", card.build(), card)
    with pytest.raises(UserError, match="is a network for other images than the run's: gearnn run --resume --out"):
        bundle_run(run, out, options)
    (run / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"there is no model.safetensors in .*run: gearnn run --resume --out"):
        bundle_run(run, out, options)
    assert not out.exists()
