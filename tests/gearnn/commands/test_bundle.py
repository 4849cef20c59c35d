from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gearnn.cli import main
from gearnn.engine.bundle import open_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import check_file, read_manifest


def test_a_run_becomes_a_bundle_that_predicts(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "tiny.zip"
    assert (
        main(["bundle", str(tiny_run), "--out", str(out), "--severities", "3", "--threads", "1", "--max-drop", "20", "--json"])
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    result = json.loads((tiny_run / "result.json").read_text())
    assert printed["results"]["fp32"]["clean"] == result["clean_accuracy"]
    assert printed["results"]["fp32"]["n"] == 30
    with open_bundle(out) as bundle:
        assert set(bundle.precisions) == {"fp32", "fp16", "int8"}
        assert bundle.default == printed["default"]
        for precision, facts in bundle.precisions.items():
            model = bundle.model(precision)
            manifest = read_manifest(model)
            check_file(model, manifest)
            assert (manifest.precision, manifest.ready) == (precision, facts["ready"])
            assert manifest.metadata["precision"] == precision
        assert read_manifest(bundle.model("int8")).calibration_sha256
        card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert f"{result['params_final']:,} parameters" in card
    images = np.load(tiny_run.parent / "gratings.npz", allow_pickle=False)
    Image.fromarray(images["x_test"][0].squeeze()).save(tmp_path / "one.png")
    for precision in ("fp32", "fp16", "int8"):
        assert main(["predict", str(out), str(tmp_path / "one.png"), "--precision", precision, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["results"]
        assert row["predictions"][0]["label"] in bundle.classes


def test_pixels_and_the_verdict_of_a_strict_gate(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["bundle", str(tiny_run), "--out", str(tmp_path / "b"), "--uint8", "--severities", "5", "--threads", "1"]
    assert main([*arguments, "--precisions", "int8", "--calibration-images", "8", "--int8-for", "onnxruntime"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].startswith("fp32")
    with open_bundle(tmp_path / "b") as bundle:
        assert read_manifest(bundle.model("int8")).input_dtype == "uint8"
        assert json.loads(read_manifest(bundle.model("int8")).metadata["calibration"])["images"] == 8


def test_mistakes_are_one_sentence_and_leave_nothing(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "data"
    for part in ("train", "test"):
        for label in ("x", "y"):
            (other / part / label).mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(other / part / label / f"{number}.png")
    wrong = (
        [str(tmp_path / "none")],
        [str(tiny_run), "--precisions", "int4"],
        [str(tiny_run), "--data", str(other)],
        [str(tiny_run), "--max-drop", "-1"],
        [str(tiny_run), "--keep", "/no/such/Conv"],
        [str(tiny_run), "--calibration-images", "0"],
        [str(tiny_run), "--device", "cuda"],
    )
    for arguments in wrong:
        assert main(["bundle", *arguments, "--out", str(tmp_path / "b"), "--severities", "1", "--threads", "1"]) == 2
        assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]) == 1
        assert not (tmp_path / "b").exists()


def test_what_is_there_is_not_overwritten_unless_asked(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, other = tmp_path / "tiny.zip", tmp_path / "holiday.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("beach.jpg", "sand")
    few = ["--precisions", "fp32", "--severities", "1", "--threads", "1", "--limit-test", "6"]
    assert main(["bundle", str(tiny_run), "--out", str(out), *few]) == 0
    assert "\np50 at batch 1 on 1 thread.\n" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (out, other)}
    capsys.readouterr()
    for arguments, message in (
        (["--out", str(out)], f"error: there is a bundle {out} already: replace it with --overwrite, or choose another --out\n"),
        (["--out", str(other), "--overwrite"], f"error: {other} exists and is no bundle: choose another --out, or remove it\n"),
    ):
        assert main(["bundle", str(tiny_run), *arguments, *few]) == 2
        assert capsys.readouterr().err == message
    assert before == {path: path.read_bytes() for path in (out, other)}
    assert main(["bundle", str(tiny_run), "--out", str(out), "--overwrite", "--name", "renamed", *few]) == 0
    with open_bundle(out) as bundle:
        assert bundle.name == "renamed"


def test_a_precision_that_a_zip_lacks_is_told_by_the_zips_own_name(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.zip"
    few = ["--precisions", "fp32", "--severities", "1", "--threads", "1", "--limit-test", "6"]
    assert main(["bundle", str(tiny_run), "--out", str(out), *few]) == 0
    with open_bundle(out) as bundle:
        with pytest.raises(EngineError, match=f"no precision 'int4': choose fp32, which {out} holds"):
            bundle.model("int4")
        with pytest.raises(EngineError, match=f"^{out} holds no network at int8"):
            bundle.model("int8")
