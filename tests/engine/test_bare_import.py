"""The engine on a board: only NumPy and ONNX Runtime can be imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from gearnn.engine.runtimes import load_runtime

BARE = """
import sys

BLOCKED = ("torch", "scipy", "numba", "onnx", "sklearn", "cv2", "safetensors", "plotly")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import gearnn.engine
assert not {"numpy", "onnxruntime"} & set(sys.modules), "the package itself imports nothing"
from gearnn.engine import EngineError, compare, load_runtime, profile_latency
from gearnn.engine.environment import environment
import numpy as np

images = np.load(sys.argv[2], allow_pickle=False)
with load_runtime(sys.argv[1], threads=1) as runtime:
    np.save(sys.argv[3], runtime.run(images))
    compare(runtime.run, runtime.run, images).check()
    assert profile_latency(runtime, (1,), iterations=3)[0].iterations == 3
assert environment()["versions"]["onnxruntime"] == runtime.version
try:
    gearnn.engine.export_onnx
except ModuleNotFoundError as error:
    assert error.name in ("onnx", "torch")
else:
    raise AssertionError("the blocker does not block")
assert not set(BLOCKED) & set(sys.modules)
"""


def test_runs_a_network_without_torch(onnx_file, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    arguments = [onnx_file, tmp_path / "images.npy", tmp_path / "logits.npy"]
    done = subprocess.run([sys.executable, "-c", BARE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with load_runtime(onnx_file, threads=1) as runtime:
        np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), runtime.run(images), atol=1e-6)


def test_public_names_are_functions_whatever_was_imported_first():
    code = (
        "import gearnn.engine.compare, gearnn.engine.profile, gearnn.engine.export, gearnn.engine as engine\n"
        "assert all(callable(getattr(engine, name)) for name in engine.__all__)\n"
        "assert set(engine.__all__) <= set(dir(engine))\n"
        "try: engine.nothing\n"
        "except AttributeError as error: assert 'it offers' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
