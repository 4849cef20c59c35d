from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import (
    Manifest,
    check_manifest,
    manifest_path,
    onnx_manifest,
    read_manifest,
    sha256_of,
    write_manifest,
)

HERE = {"runtime": "tensorrt", "runtime_version": "8.5.2.2", "compute_capability": "7.2", "gpu": "Xavier"}


@pytest.fixture()
def engine(tmp_path):
    path = tmp_path / "net.engine"
    path.write_bytes(bytes(range(256)) * 50)
    return path


def manifest_of(engine, **changes):
    values = {
        "file": engine.name, "sha256": sha256_of(engine), "runtime": "tensorrt", "runtime_version": "8.5.2.2",
        "precision": "int8", "input_name": "images", "input_shape": (None, 3, 32, 32), "input_dtype": "float32",
        "layout": "NCHW", "output_name": "logits", "output_shape": (None, 10), "batch": (1, 4, 32), "onnx_sha256": "ab" * 32,
        "calibration_sha256": "cd" * 32, "compute_capability": "7.2", "gpu": "Xavier", "metadata": {"classes": '["ä", "b"]'},
        "rebuild": "gearnn build net.onnx --out net.engine", "ready": True, "details": {"build_seconds": 3.5},
    }  # fmt: skip
    return Manifest(**{**values, **changes})


def test_is_read_as_it_was_written(engine):
    manifest = manifest_of(engine)
    assert write_manifest(engine, manifest) == manifest_path(engine) == engine.parent / "net.engine.manifest.json"
    assert read_manifest(engine) == manifest
    check_manifest(engine, manifest, **HERE)


def test_digest_is_the_standard_one(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(EngineError, match="cannot read"):
        sha256_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("here", "both"),
    [
        ({"runtime": "tensorrt_rtx"}, "built by tensorrt 8.5.2.2 .* here is tensorrt_rtx 8.5.2.2 .*the runtime differs"),
        ({"runtime_version": "10.3.0"}, "built by tensorrt 8.5.2.2 .* here is tensorrt 10.3.0 .*the version differs"),
        ({"compute_capability": "8.7"}, "capability 7.2, .* of 8.7: the compute capability differs"),
        ({"gpu": "Orin"}, "for Xavier .* on Orin of 7.2: the GPU differs"),
    ],
)
def test_another_place_is_refused_with_both_sides_and_the_cure(engine, here, both):
    with pytest.raises(EngineError, match=both + ".*rebuild it here with: gearnn build net.onnx") as caught:
        check_manifest(engine, manifest_of(engine), **{**HERE, **here})
    assert "\n" not in str(caught.value)


def test_what_is_not_known_is_not_compared(engine):
    check_manifest(engine, manifest_of(engine, gpu=None), **{**HERE, "gpu": "any GPU of 7.2"})
    check_manifest(engine, manifest_of(engine), **{**HERE, "gpu": None})


def test_version_compatible_engines_move_within_a_major_version(engine):
    manifest = manifest_of(engine, runtime_version="10.3.0", details={"version_compatible": True})
    check_manifest(engine, manifest, **{**HERE, "runtime_version": "10.9.1"})
    with pytest.raises(EngineError, match="version differs"):
        check_manifest(engine, manifest, **{**HERE, "runtime_version": "11.0.0"})


@pytest.mark.parametrize("place", [0, 6000, -1])
def test_one_changed_byte_is_refused(engine, place):
    manifest = manifest_of(engine)
    content = bytearray(engine.read_bytes())
    content[place] ^= 1
    engine.write_bytes(content)
    with pytest.raises(EngineError, match=f"not the file its manifest speaks of .*{manifest.sha256[:12]}.*with: gearnn build"):
        check_manifest(engine, manifest, **HERE)


def test_of_an_onnx_file(onnx_file):
    manifest = onnx_manifest(onnx_file, "fp32", "gearnn export RUN", onnx_sha256="ab")
    assert (manifest.input_name, manifest.input_shape, manifest.input_dtype) == ("images", (None, 3, 16, 16), "float32")
    assert (manifest.output_name, manifest.output_shape, manifest.onnx_sha256) == ("logits", (None, 5), "ab")
    assert manifest.metadata["classes"] == '["a", "b", "c", "d", "e"]'
    write_manifest(onnx_file, manifest)
    assert read_manifest(onnx_file) == manifest


def test_without_a_manifest_nothing_is_loaded(engine):
    with pytest.raises(EngineError, match="no manifest net.engine.manifest.json beside it .*gearnn build"):
        read_manifest(engine)


def break_field(content, name, value):
    content[name] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", 2), ("file", "../other.engine"), ("file", "/etc/passwd"), ("sha256", 3), ("runtime", "magic"),
        ("precision", "int4"), ("input_shape", [1, -3]), ("input_shape", "1,3"), ("batch", [1, 2]), ("batch", [1, None, 3]),
        ("output_shape", [True]), ("metadata", {"a": 1}), ("details", []), ("ready", "yes"), ("gpu", 5), ("layout", None),
    ],
)  # fmt: skip
def test_fields_of_the_wrong_kind_are_refused(engine, name, value):
    path = write_manifest(engine, manifest_of(engine))
    path.write_text(break_field(json.loads(path.read_text()), name, value))
    with pytest.raises(EngineError, match="is not a manifest"):
        read_manifest(engine)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "[" * 100_000, "\xff", " " * (1 << 21)])
def test_damaged_manifests_are_refused(engine, text):
    manifest_path(engine).write_bytes(text.encode("latin-1"))
    with pytest.raises(EngineError, match="is not a manifest"):
        read_manifest(engine)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([entry.name for entry in dataclasses.fields(Manifest)]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)
def test_any_value_gives_a_manifest_or_our_own_error(tmp_path_factory, name, value):
    engine = tmp_path_factory.mktemp("fuzz") / "net.engine"
    engine.write_bytes(b"engine")
    path = write_manifest(engine, manifest_of(engine))
    path.write_text(break_field(json.loads(path.read_text()), name, value))
    try:
        manifest = read_manifest(engine)
        check_manifest(engine, manifest, **HERE)
    except EngineError:
        return
    write_manifest(engine, manifest)
    assert read_manifest(engine) == manifest
