"""A plausible run folder: a MobileNet grown on digits, with a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

CORRUPTIONS = [
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow"),
    *("frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
EPOCHS = {"seed": 12, "regrow": 8, "era": 40, "baseline": 61}
SEED_WIDTHS = [8, 8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 128]
FINAL_WIDTHS = [24, 24, 40, 32, 64, 56, 96, 80, 72, 88, 96, 80, 168, 136]
LAYERS = [f"features.{4 * index}.0" for index in range(14)]


def robustness(level: float, n: int = 360) -> Dict[str, Any]:
    """Accuracies that fall with severity, by an amount that differs per corruption."""
    generator = np.random.default_rng(int(level * 1000))
    falls = generator.uniform(0.2, 1.6, len(CORRUPTIONS)) * (1 - level)
    rows = {
        name: [round(float(np.clip(0.99 - fall * severity / 3, 0.1, 1)), 4) for severity in range(1, 6)]
        for name, fall in zip(CORRUPTIONS, falls)
    }
    robust = float(np.mean(list(rows.values())))
    return {
        "clean": 0.99,
        "robust": robust,
        "per_corruption": rows,
        "severities": [1, 2, 3, 4, 5],
        "kind": "generated",
        "n": n,
        "seed": 0,
    }


def network(name: str, label: str, params: int, level: float, clean: float) -> Dict[str, Any]:
    report = {**robustness(level), "clean": clean, "clean_ece": 0.021, "clean_interval": [clean - 0.0123, clean + 0.0123]}
    phase = {"seed": "seed", "grown": "regrow", "robust": "era", "baseline": "baseline"}[name]
    return {
        "name": name,
        "label": label,
        "phase": phase,
        "params": params,
        "widths": SEED_WIDTHS if name == "seed" else FINAL_WIDTHS,
        "clean_accuracy": clean,
        "robust_accuracy": report["robust"],
        "robustness": report,
        "onnx_bytes": 4 * params + 9000,
        "latency_ms_p50": {"seed": 0.251, "grown": 0.408, "robust": 0.412, "baseline": 0.41}[name],
        "comparison": {"max_abs": 3.1e-6, "mean_abs": 4.0e-7, "top1_agreement": 1.0, "n": 256},
    }


def result() -> Dict[str, Any]:
    networks = [
        network("seed", "seed network", 60_418, 0.72, 0.9694),
        network("grown", "grown network, before ERA", 107_930, 0.75, 0.9861),
        network("robust", "grown network, after ERA", 107_930, 0.95, 0.9833),
        network("baseline", "same size, trained clean from the start", 107_930, 0.76, 0.9889),
    ]
    seconds = {"seed": 21.4, "growth": 9.8, "regrow": 19.6, "era": 171.2, "baseline": 148.9}
    epochs = {**EPOCHS, "growth": 1}
    phases: List[Dict[str, Any]] = []
    for name, taken in seconds.items():
        images = 1437 * (epochs[name] + (name == "growth"))
        kind, views = ("grow" if name == "growth" else "train"), (4 if name == "era" else 1)
        record = {"name": name, "kind": kind, "views": views, "epochs": epochs[name], "seconds": taken, "images": images}
        phases.append({**record, "images_per_s": images / taken, "peak_memory_mb": 611.3 + 40 * views, "joules": 21.5 * taken})
    grown = [
        {"name": name, "before": before, "after": after, "split": 3, "new": after - before - 3, "score": -0.2}
        for name, before, after in zip(LAYERS, SEED_WIDTHS, FINAL_WIDTHS)
    ]
    latency = [
        {"batch": 1, "p50_ms": 0.412, "p90_ms": 0.455, "p99_ms": 0.731, "images_per_s": 2391.0, "iterations": 200},
        {"batch": 32, "p50_ms": 7.94, "p90_ms": 8.41, "p99_ms": 11.02, "images_per_s": 4012.0, "iterations": 50},
    ]
    layers = [
        {"name": f"/1/{name}/Conv", "op": "Conv", "modules": [f"1.{name}"], "mean_ms": 0.02 + 0.003 * index, "share": 0.05}
        for index, name in enumerate([*LAYERS, "features.52.0", "features.54.0", "classifier"])
    ]
    return {
        "clean_accuracy": networks[2]["clean_accuracy"],
        "robust_accuracy": networks[2]["robust_accuracy"],
        "engine": {
            "runtime": "onnxruntime",
            "version": "1.19.2",
            "threads": 2,
            "clean_accuracy": networks[2]["clean_accuracy"],
            "robust_accuracy": networks[2]["robust_accuracy"],
            "latency_ms_p50": 0.412,
            "latency": latency,
            "layers": layers,
            "comparison": networks[2]["comparison"],
            "onnx_bytes": 441_000,
            "opset": 13,
        },
        "networks": networks,
        "per_class": per_class(),
        "arch": "mobilenet_v1",
        "classes": [str(digit) for digit in range(10)],
        "image_size": 32,
        "in_chans": 1,
        "method": "gearnn-2",
        "preset": "demo",
        "dataset": {
            "name": "digits",
            "source": "scikit-learn's load_digits",
            "n_train": 1437,
            "n_test": 360,
            "notes": ["8×8 scans brought to 32×32.", "A fifth of each class was set aside for testing (seed 0)."],
        },
        "params_seed": 60_418,
        "params_final": 107_930,
        "widths_seed": SEED_WIDTHS,
        "widths_final": FINAL_WIDTHS,
        "width_layers": LAYERS,
        "growth": {
            "grower": "osg",
            "budget": [
                {"name": "summed widths", "unit": "", "before": sum(SEED_WIDTHS), "after": sum(FINAL_WIDTHS), "limit": 1064},
                {"name": "training memory", "unit": "bytes", "before": 3.1e7, "after": 4.2e7, "limit": 5e7},
            ],
            "checks": [{"name": "training memory", "unit": "bytes", "predicted": 4.2e7, "measured": 4.3e7}],
            "bound_by": "summed widths",
            "layers": grown,
            "fixed": {},
        },
        "phases": phases,
        "versions": {"gearnn": "0.1.0", "python": "3.11.7", "numpy": "2.1.0", "torch": "2.4.0", "onnxruntime": "1.19.2"},
        "device": {"name": "Intel Xeon", "platform": "Linux-6.1-x86_64", "threads": 2, "training_device": "cpu"},
        "seed": 0,
        "seconds_total": 402.7,
        "warnings": ["Peak memory on a CPU is that of the whole process, data included."],
    }


def per_class() -> List[Dict[str, Any]]:
    """36 images of each digit; a few of them are taken for the next digit."""
    rows = []
    for digit in range(10):
        wrong = 0 if digit % 5 else 3
        named = {str(digit): 36 - wrong, **({str((digit + 1) % 10): wrong} if wrong else {})}
        rows.append({"class": str(digit), "images": 36, "right": 36 - wrong, "named": named})
    return rows


def metrics() -> List[Dict[str, Any]]:
    generator = np.random.default_rng(0)
    rows, reached = [], 0.3
    for phase, epochs in EPOCHS.items():
        reached = 0.2 if phase == "baseline" else reached
        for epoch in range(1, epochs + 1):
            reached += (0.985 - reached) * 0.3
            test = float(np.clip(reached + generator.normal(0, 0.006), 0, 1))
            loss = 2.4 * (1 - reached) + (0.35 * 0.96**epoch if phase == "era" else 0.02)
            row = {
                "phase": phase,
                "epoch": epoch,
                "epochs": epochs,
                "loss": loss,
                "train_accuracy": reached,
                "test_accuracy": test,
            }
            rows.append({**row, "learning_rate": 0.05, "seconds": 2.0, "images_per_s": 700.0})
    return rows


def pictures() -> Dict[str, np.ndarray]:
    """Six blurry strokes, their views and their corruptions, grey, 32×32."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32]
    angles = np.linspace(0, np.pi, 6, endpoint=False)[:, None, None]
    distance = np.abs((x - 16) * np.sin(angles) - (y - 16) * np.cos(angles))
    clean = np.clip(255 * np.exp(-((distance / 4) ** 2)), 0, 255).astype(np.uint8)[:, None]

    def noisy(count: int) -> np.ndarray:
        noise = generator.normal(0, 30, (6, count, 1, 32, 32))
        return np.clip(clean[:, None] + noise, 0, 255).astype(np.uint8)

    levels = np.stack([noisy(15)[0] for _ in range(5)], axis=1)
    labels = np.arange(6, dtype=np.int64)
    named = np.repeat(labels[:, None], 15, axis=1)
    named[1, 9] = 7
    said = {"named_clean": labels, "named_corrupted": named}
    return {"clean": clean, "augmented": noisy(3), "corrupted": noisy(15), "by_severity": levels, "labels": labels, **said}


CONFIG = {
    "data": None,
    "out": "runs/demo",
    "preset": "demo",
    "arch": "mobilenet_v1",
    "baseline": True,
    "seed": 0,
    "epochs": {"seed": 12, "regrow": 8, "era": 40},
    "budget": {"growth_ratio": 1.8, "params": None},
    "optimizer": {"batch_size": 64, "learning_rate": 0.1},
}


@pytest.fixture()
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """``make_run(change)`` writes a run folder, its result first given to ``change`` (which edits it in place)."""

    def make(change: Callable[[Dict[str, Any]], Any] = lambda result: None, name: str = "run") -> Path:
        folder, written = tmp_path / name, json.loads(json.dumps(result()))
        change(written)
        folder.mkdir(exist_ok=True)
        (folder / "result.json").write_text(json.dumps(written), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()), encoding="utf-8")
        np.savez_compressed(folder / "examples.npz", **pictures())
        return folder

    return make
