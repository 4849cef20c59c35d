from __future__ import annotations

import json
import os
import shutil
import stat
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.engine.bundle import CARD, INDEX, LABELS, is_bundle, open_bundle, read_bundle, write_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import load_runtime


def make(out, onnx_file, **changes):
    settings_ = {
        "name": "small", "classes": ["cat", "dog", "ä b", "two\nlines", "e"], "channels": 3, "size": 16, "default": "int8",
        "facts": {"int8": {"ready": True, "clean_accuracy": 0.5}}, "card": "# Small\n",
    }  # fmt: skip
    return write_bundle(out, {"fp32": onnx_file, "int8": onnx_file}, **{**settings_, **changes})


@pytest.fixture(params=["folder", "photos.zip"])
def bundle_path(request, onnx_file, tmp_path):
    return make(tmp_path / "out" / request.param, onnx_file)


def test_holds_all_that_a_device_needs(bundle_path, onnx_file):
    assert is_bundle(bundle_path)
    with open_bundle(bundle_path) as bundle:
        names = {path.name for path in bundle.folder.iterdir()}
        assert names == {INDEX, LABELS, CARD, "model.onnx", "model.int8.onnx"}
        assert (bundle.classes[3], bundle.channels, bundle.size, bundle.default) == ("two\nlines", 3, 16, "int8")
        assert bundle.precisions["int8"] == {"ready": True, "clean_accuracy": 0.5, "file": "model.int8.onnx"}
        assert (bundle.folder / LABELS).read_text(encoding="utf-8").splitlines() == ["cat", "dog", "ä b", "two lines", "e"]
        assert bundle.model().name == "model.int8.onnx"
        assert bundle.model("fp32").read_bytes() == onnx_file.read_bytes()
        with load_runtime(bundle.model("fp32"), threads=1) as runtime:
            assert runtime.image_shape == (3, 16, 16)
        with pytest.raises(EngineError, match="holds no network at fp16: choose fp32 or int8, or bundle it again"):
            bundle.model("fp16")
    if bundle_path.suffix == ".zip":
        assert not bundle.folder.exists()


def test_an_older_bundle_is_replaced_and_nothing_else(bundle_path, onnx_file, tmp_path):
    make(bundle_path, onnx_file, name="newer")
    with open_bundle(bundle_path) as bundle:
        assert bundle.name == "newer"
    assert [path.name for path in bundle_path.parent.iterdir()] == [bundle_path.name]
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(EngineError, match="exists and is no bundle"):
        make(other, onnx_file)
    assert (other / "mine.jpg").exists()


def test_nothing_is_left_of_a_failure(onnx_file, tmp_path):
    with pytest.raises(EngineError, match="cannot write"):
        write_bundle(
            tmp_path / "out" / "b", {"fp32": tmp_path / "gone.onnx"},
            name="x", classes=["a", "b"], channels=3, size=16, default="fp32", facts={}, card="",
        )  # fmt: skip
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(EngineError, match="default precision fp16 is not among"):
        make(tmp_path / "out" / "b", onnx_file, default="fp16")


def test_a_changed_byte_is_refused(onnx_file, tmp_path):
    folder = make(tmp_path / "b", onnx_file)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[500] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="another checksum"):
        read_bundle(folder).model("fp32")
    assert read_bundle(folder).model("int8").exists()


def rezip(path, changed):
    """The same zip with some entries put in place or added."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**entries, **changed}.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "sub/evil", "..", "a\\b", "C:evil", ".hidden", "sub/"])
def test_names_that_leave_the_folder_are_refused(onnx_file, tmp_path, name):
    path = make(tmp_path / "b.zip", onnx_file)
    rezip(path, {name: b"evil"})
    with pytest.raises(EngineError, match="which no bundle does"), open_bundle(path):
        pass
    assert not list(tmp_path.rglob("evil"))


def test_links_in_a_zip_are_refused(onnx_file, tmp_path):
    path = make(tmp_path / "b.zip", onnx_file)
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(EngineError, match="'link', which no bundle does"), open_bundle(path):
        pass


def test_damaged_zips_are_refused(onnx_file, tmp_path):
    path = make(tmp_path / "b.zip", onnx_file)
    content = path.read_bytes()
    for damaged in (b"", b"PK\x03\x04", content[: len(content) // 2], content[:200] + bytes(64) + content[264:]):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match="copy the bundle again|copy it again"), open_bundle(path) as bundle:
            bundle.model("fp32")
            bundle.model("int8")


def test_what_is_no_bundle_is_said_so(tmp_path):
    assert not is_bundle(tmp_path)
    with pytest.raises(EngineError, match="is not a bundle .*gearnn bundle RUN"):
        read_bundle(tmp_path)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_index_gives_a_bundle_or_our_own_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "model.onnx").write_bytes(b"onnx")
    content = {
        "format": 1, "name": "n", "classes": ["a"], "input": {"channels": 3, "size": 8}, "default": "fp32",
        "precisions": {"fp32": {"file": "model.onnx"}}, "files": {"model.onnx": {"sha256": "0", "bytes": 4}},
    }  # fmt: skip
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    )
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(anything)
    (folder / INDEX).write_text(json.dumps(content))
    try:
        bundle = read_bundle(folder)
        bundle.model()
    except EngineError:
        return
    finally:
        shutil.rmtree(folder)
    raise AssertionError("the checksum is wrong, so no network may come out")


def test_bombs_are_refused_before_they_are_unpacked(onnx_file, tmp_path, monkeypatch):
    path = make(tmp_path / "b.zip", onnx_file)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(65):
            archive.writestr(f"f{number}", b"")
    monkeypatch.setattr("gearnn.engine.bundle._LARGEST", 1000)
    for bomb in (many, path):
        with pytest.raises(EngineError, match="as no bundle does: do not use it"), open_bundle(bomb):
            pass


def test_a_member_that_is_larger_than_announced_is_cut_and_refused(onnx_file, tmp_path):
    path = make(tmp_path / "b.zip", onnx_file)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**7))
    content = path.read_bytes()
    size = (10**7).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(EngineError, match="not a readable zip file"), open_bundle(path):
        pass


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compression_is_refused(onnx_file, tmp_path, packing):
    path = make(tmp_path / "b.zip", onnx_file)
    with zipfile.ZipFile(path, "a", packing) as archive:
        archive.writestr("extra", b"x" * 100)
    with pytest.raises(EngineError, match="'extra', which no bundle does"), open_bundle(path):
        pass


@pytest.mark.parametrize("name", ["labels.txt", "LABELS.txt"])
def test_names_that_are_there_twice_are_refused(onnx_file, tmp_path, name):
    path = make(tmp_path / "b.zip", onnx_file)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, b"x")
    with pytest.raises(EngineError, match=r"twice \(capitals aside\)"), open_bundle(path):
        pass


@pytest.mark.parametrize("name", ["model.onnx", INDEX])
def test_links_and_pipes_in_a_folder_are_refused(onnx_file, tmp_path, name):
    folder = make(tmp_path / "b", onnx_file)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="not a regular file"):
        read_bundle(folder).model("fp32")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(EngineError, match="not a regular file"):
        read_bundle(folder).model("fp32")


def test_what_a_bundle_says_cannot_control_the_terminal(onnx_file, tmp_path):
    folder = make(tmp_path / "b", onnx_file)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index["precisions"]["fp32"]["reason"] = "a\x1b[2Jb\nc"
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    assert read_bundle(folder).precisions["fp32"]["reason"] == "a�[2Jb�c"
