from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gearnn.engine.bundle import write_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.manifest import Manifest, sha256_of, write_manifest
from gearnn.engine.predict import load, softmax
from gearnn.engine.runtimes import load_runtime

CLASSES = ["cat", "dog", "emu", "fox", "gnu"]


@pytest.fixture()
def bundle(onnx_file, tmp_path):
    return write_bundle(
        tmp_path / "b", {"fp32": onnx_file},
        name="small", classes=CLASSES, channels=3, size=16, default="fp32", facts={}, card="",
    )  # fmt: skip


@pytest.fixture()
def photo(tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_equals_the_network_on_the_centre_of_the_picture(bundle, small_net, photo):
    path, pixels = photo
    centre = torch.from_numpy(pixels[2:18].transpose(2, 0, 1).astype(np.float32) / 255)[None]
    with torch.no_grad():
        wanted = torch.softmax(small_net(centre), 1)[0].numpy()
    with load(bundle, threads=1) as network:
        (row,) = network.predict([path], topk=5)
        assert network.predict([pixels], topk=5)[0] == row
    assert [entry.label for entry in row] == [CLASSES[place] for place in np.argsort(-wanted)]
    np.testing.assert_allclose([entry.probability for entry in row], np.sort(wanted)[::-1], atol=1e-5)


@pytest.mark.parametrize("options", [{"pixels": True}, {"batch": 2}, {"pixels": True, "batch": 2}])
def test_other_inputs_of_the_file_give_the_same(bundle, small_net, photo, tmp_path, options):
    path = export_onnx(small_net, (3, 16, 16), tmp_path / "other.onnx", metadata={"classes": json.dumps(CLASSES)}, **options)
    pictures = [photo[0], photo[1][:16], photo[1][4:]]
    with load(bundle, threads=1) as one, load(path, threads=1) as other:
        np.testing.assert_allclose(other.logits(pictures), one.logits(pictures), atol=1e-5)


def test_takes_a_zip_and_a_run_folder(onnx_file, tmp_path, photo):
    path = write_bundle(
        tmp_path / "b.zip", {"fp32": onnx_file},
        name="small", classes=CLASSES, channels=3, size=16, default="fp32", facts={}, card="",
    )  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.onnx").write_bytes(onnx_file.read_bytes())
    with load(path) as one, load(run) as other:
        assert other.labels == tuple("abcde")  # of the file itself
        np.testing.assert_array_equal(one.logits([photo[0]]), other.logits([photo[0]]))
        one.close()
        with pytest.raises(EngineError, match="was closed"):
            one.logits([photo[0]])


def test_an_engine_that_does_not_load_is_passed_over_with_a_warning(bundle, photo, tmp_path):
    engine = bundle / "model.engine"
    engine.write_bytes(b"not an engine")
    shapes = {"input_shape": (None, 3, 16, 16), "output_shape": (None, 5), "input_dtype": "float32", "layout": "NCHW"}
    names = {"file": engine.name, "input_name": "images", "output_name": "logits"}
    built = {"runtime": "tensorrt", "runtime_version": "8.5.2", "precision": "fp32", "sha256": sha256_of(engine)}
    write_manifest(engine, Manifest(**names, **built, **shapes))
    with pytest.warns(RuntimeWarning, match="the engine in the bundle is not used"), load(bundle) as network:
        assert network.runtime.name == "onnxruntime"
        assert network.logits([photo[0]]).shape == (1, 5)
    with pytest.raises(EngineError):
        load(bundle, runtime="tensorrt")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in bundle.iterdir():
            archive.write(path, path.name)
    with warnings.catch_warnings(), load(tmp_path / "b.zip") as network:  # one in a zip is not even looked at
        warnings.simplefilter("error")
        assert network.runtime.name == "onnxruntime"


def test_a_precision_that_is_not_ready_is_remarked_on(onnx_file, tmp_path, photo):
    facts = {"int8": {"ready": False, "reason": "clean accuracy is 3.00 points below FP32"}}
    path = write_bundle(
        tmp_path / "b", {"fp32": onnx_file, "int8": onnx_file},
        name="small", classes=CLASSES, channels=3, size=16, default="fp32", facts=facts, card="",
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="int8 is not marked ready: clean accuracy is 3.00"), load(path, "int8") as network:
        assert network.logits([photo[0]]).shape == (1, 5)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 8, 2), np.uint8), r"uint8 \(height, width\) or \(height, width, 3\), not uint8 \(8, 8, 2\)"),
        (np.ones((8, 8, 3)), r"not float64 \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "not uint8"),
        ("missing.png", "missing.png cannot be used .not found."),
    ],
)
def test_pictures_that_do_not_serve(bundle, picture, message):
    with load(bundle) as network, pytest.raises(EngineError, match=message):
        network.predict([picture])


def test_other_mistakes(bundle, small_net, onnx_file, tmp_path):
    picture = tmp_path / "cat.JPG"
    Image.new("RGB", (8, 8)).save(picture)
    with pytest.raises(EngineError, match="cat.JPG is a picture: give the network first"):
        load(picture)
    with load(bundle) as network:
        with pytest.raises(EngineError, match="give at least one"):
            network.predict([])
        with pytest.raises(EngineError, match="topk must be at least 1"):
            network.predict([np.ones((8, 8), np.uint8)], topk=0)
    with pytest.raises(EngineError, match="holds no network at int8"):
        load(bundle, precision="int8")
    with pytest.raises(EngineError, match="is not a bundle, so it has one precision only"):
        load(onnx_file, precision="int8")
    with pytest.raises(EngineError, match="does not say what its classes are called"):
        load(export_onnx(small_net, (3, 16, 16), tmp_path / "nameless.onnx"))
    with pytest.raises(EngineError, match="tells 5 classes apart, but 1 have names"):
        load(export_onnx(small_net, (3, 16, 16), tmp_path / "few.onnx", metadata={"classes": '["a"]'})).logits(
            [np.ones((9, 9), np.uint8)]
        )


def test_may_be_called_from_several_threads(bundle):
    pictures = list(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8))
    with load(bundle, threads=1) as network:
        wanted, found = [network.logits([picture]) for picture in pictures], {}

        def look(place):
            found[place] = network.logits([pictures[place]])

        workers = [threading.Thread(target=look, args=(place,)) for place in range(8)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
    for place in range(8):
        np.testing.assert_array_equal(found[place], wanted[place])


def test_softmax_is_stable():
    rows = softmax(np.array([[1e4, 1e4 - 1, -1e4], [0.5, 0.25, 0.125]], np.float32))
    np.testing.assert_allclose(rows.sum(1), 1)
    np.testing.assert_allclose(rows[0, :2], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-6)


def test_nothing_heavy_is_imported(bundle, photo):
    script = (
        "import sys\n"
        "from gearnn.engine import load\n"
        f"print(load({str(bundle)!r}).predict([{str(photo[0])!r}])[0][0].label)\n"
        "heavy = {'torch', 'numba', 'scipy', 'onnx', 'cv2', 'sklearn', 'safetensors', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with load_runtime(bundle / "model.onnx") as runtime:
        assert runtime.metadata["classes"]
    assert done.stdout.strip() in CLASSES
