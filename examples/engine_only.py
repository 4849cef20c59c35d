"""The engine alone, for any torch network: ONNX file, INT8 file, agreement with torch, latency. Nothing of it trains.

python examples/engine_only.py --out engine-example
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from gearnn.engine import compare, export_onnx, load_runtime, profile_latency
from gearnn.engine.quantize import to_int8


def my_network() -> torch.nn.Module:
    """Float32 images (B, 3, 32, 32) in [0, 1] → logits (B, 10)."""
    layers = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(before, after, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(128, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("engine-example"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = my_network().eval()
    images = np.random.default_rng(0).random((64, 3, 32, 32), dtype=np.float32)

    fp32 = export_onnx(model, (3, 32, 32), options.out / "model.onnx")
    int8 = to_int8(fp32, options.out / "model.int8.onnx", [images], runtime="onnxruntime")

    def on_torch(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(batch)).numpy()

    for path in (fp32, int8):
        with load_runtime(path, threads=1) as engine:
            comparison = compare(on_torch, engine.run, images)
            if path == fp32:
                comparison.check()  # raises EngineError where the engine computes something else
            fast = profile_latency(engine, batch_sizes=(1,), iterations=50)[0]
        print(
            f"{path.name}: {path.stat().st_size:,} bytes, logits differ by at most {comparison.max_abs:.1e} from torch's, "
            f"{fast.p50_ms:.3f} ms an image on {engine.name} {engine.version}"
        )


if __name__ == "__main__":
    main()
