"""trtexec's flag names mean here what they mean there."""

from __future__ import annotations

from typing import List

import pytest

from gearnn.commands.trtexec import translate
from gearnn.errors import UserError


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (["--onnx=m.onnx", "--saveEngine=m.engine"], ["m.onnx", "--out", "m.engine"]),
        (["--onnx", "m.onnx", "--fp16"], ["m.onnx", "--precision", "fp16"]),
        (["m.onnx", "--int8", "--fp16"], ["m.onnx", "--precision", "int8"]),
        (
            ["--minShapes=images:1x3x32x32", "--optShapes=images:4x3x32x32", "--maxShapes=images:16x3x32x32", "--onnx=m.onnx"],
            ["m.onnx", "--batch", "1:4:16"],
        ),
        (["m.onnx", "--shapes=input:0:8x3x32x32"], ["m.onnx", "--batch", "8:8:8"]),
        (["m.onnx", "--memPoolSize=workspace:512"], ["m.onnx", "--workspace-mb", "512"]),
        (["m.onnx", "--memPoolSize=workspace:1.5G"], ["m.onnx", "--workspace-mb", "1536"]),
        (["m.onnx", "--memPoolSize=workspace:2048K"], ["m.onnx", "--workspace-mb", "2"]),
        (["m.onnx", "--workspace=64"], ["m.onnx", "--workspace-mb", "64"]),
        (["m.onnx", "--timingCacheFile=t.cache"], ["m.onnx", "--timing-cache", "t.cache"]),
        (["m.onnx", "--useDLACore=0", "--allowGPUFallback"], ["m.onnx", "--dla-core", "0"]),
        (["m.onnx", "--builderOptimizationLevel=4"], ["m.onnx", "--optimization-level", "4"]),
        (["m.onnx", "--versionCompatible"], ["m.onnx", "--version-compatible"]),
        (["m.onnx", "--explicitBatch", "--buildOnly", "--skipInference", "--profilingVerbosity=detailed"], ["m.onnx"]),
        (["m.onnx", "--verbose"], ["m.onnx", "--verbose"]),
    ],
)
def test_their_flags_in_our_words(theirs: List[str], ours: List[str]) -> None:
    assert translate(theirs) == ours


def test_our_own_options_pass_through_untouched() -> None:
    ours = [
        "m.onnx",
        "--out",
        "m.engine",
        "--batch",
        "1:8:32",
        "--workspace-mb=64",
        "--precision",
        "fp16",
        "--json",
        "--dla-core",
        "0",
    ]
    assert translate(ours) == ours


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (["--loadEngine=m.engine"], "--loadEngine .*gearnn profile"),
        (["--warmUp=500"], "--warmUp .*gearnn profile"),
        (["--best"], "--best .*--precision fp16"),
        (["--calib=cache"], "--calib .*--data"),
        (["--stronglyTyped"], "--stronglyTyped .*--precision auto"),
        (["--layerPrecisions=*:fp16"], "trtexec's --layerPrecisions has no counterpart"),
        (["--memPoolSize=dlaSRAM:1"], "only the workspace can be limited"),
        (["--memPoolSize=workspace:512,dlaSRAM:1"], "only the workspace can be limited"),
        (["--minShapes=images:1x3x32x32"], "--minShapes came without --optShapes, --maxShapes"),
        (["--shapes=a:1x3x32x32,b:1x10"], "not the shape of one input"),
        (["--shapes=images:32"], "not the shape of one input"),
        (["m.onnx", "--saveEngine"], "--saveEngine needs a value"),
    ],
)
def test_what_has_no_counterpart_is_a_sentence_naming_ours(theirs: List[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        translate(theirs)
    assert "\n" not in str(caught.value)
