"""From a torch module to a checked ONNX file. The only module of the engine that imports torch."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union

import onnx
import torch
from torch import Tensor, nn

from gearnn.engine.errors import EngineError, reason
from gearnn.engine.files import write_bytes
from gearnn.engine.manifest import manifest_path

OPSETS = range(13, 18)  # 13 has per-channel quantisation; 17 is the highest that the TorchScript exporter of torch 2.0 writes
INPUT, OUTPUT, BATCH = "images", "logits", "batch"
FLOATS = {"dtype": "float32", "layout": "NCHW", "range": [0, 1]}
PIXELS = {"dtype": "uint8", "layout": "NHWC", "range": [0, 255]}
_EXAMPLE_BATCH = 2  # not 1: a network that only works on single images must fail here, not on the device


def export_onnx(
    model: nn.Module,
    example_shape: Tuple[int, int, int],
    path: Union[str, Path],
    *,
    opset: int = 13,
    metadata: Optional[Mapping[str, str]] = None,
    pixels: bool = False,
    batch: Optional[int] = None,
) -> Path:
    """Write a network as ONNX: input ``images`` float32 (batch, C, H, W), output ``logits`` float32 (batch, K).

    With ``pixels`` the input is uint8 (batch, H, W, C) instead, as cameras and image files give it: the division by 255 and
    the change of layout are then part of the file. The metadata properties get ``input`` (JSON: dtype, layout, range),
    ``precision``
    ("fp32") and ``source_sha256`` (of the network's parameters and buffers) beside what ``metadata`` holds.

    The network is traced in eval mode (batch normalisation gets folded into the convolutions); every submodule's mode is
    restored afterwards. The batch axis is dynamic and named ``batch``. The file has passed the ONNX checker and strict
    shape inference, and is written whole or not at all; a manifest of an earlier file of that name is removed. Weights are
    stored in the file itself, so they end at 2 GB.

    Args:
        model: any traceable module from float32 (B, C, H, W) to one float32 tensor (B, K). Networks deployed by
            this project take images in [0, 1].
        example_shape: (C, H, W); the file takes images of this shape only.
        path: where to write; folders are made.
        opset: 13 to 17.
        metadata: strings stored in the file's metadata properties.
        pixels: take uint8 images with their channels last.
        batch: fix the batch size, as TensorRT's DLA wants it; None leaves it open.

    Returns:
        The path.

    Raises:
        EngineError: if the opset is outside 13 to 17, the batch size below 1, the network does not map the example to (B, K),
            holds an operator that this opset lacks, has its batch size frozen by the trace, or the file cannot be written.
    """
    path = Path(path)
    if opset not in OPSETS:
        raise EngineError(f"ONNX opset {opset} is not supported: choose one from {OPSETS[0]} to {OPSETS[-1]} (default 13)")
    if batch is not None and batch < 1:
        raise EngineError(f"a batch has at least one image, not {batch}: leave it out for any batch size")
    with _eval_mode(model):
        example = _example(model, example_shape, batch)
        _check_forward(model, example)
        source = _digest(model)
        if pixels:
            with _from_pixels(model):
                exported = _trace(model, (example * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(), opset, batch)
        else:
            exported = _trace(model, example, opset, batch)
    checked = _check(exported, type(model).__name__)
    own = {"input": json.dumps(PIXELS if pixels else FLOATS), "precision": "fp32", "source_sha256": source}
    onnx.helper.set_model_props(checked, {**(metadata or {}), **own})
    write_bytes(path, checked.SerializeToString())
    with contextlib.suppress(FileNotFoundError):
        manifest_path(path).unlink()  # it spoke of the file before
    return path


@contextlib.contextmanager
def _from_pixels(model: nn.Module) -> Iterator[None]:
    """The network takes uint8 (B, H, W, C) for the block. A hook, so that the file's node names stay the modules' paths.

    The cast comes first: TensorRT takes uint8 only as an input that is cast at once (its Python API documentation, DataType).
    """
    hook = model.register_forward_pre_hook(lambda module, images: (images[0].float().permute(0, 3, 1, 2) / 255,))
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for the block; each submodule gets its own mode back, since a part may have been frozen."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _digest(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of parameters and buffers, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _example(model: nn.Module, shape: Tuple[int, int, int], batch: Optional[int]) -> Tensor:
    """Images as the network will see them, in [0, 1], where its weights are."""
    weights = next(iter(model.parameters()), None)
    images = torch.rand(batch or _EXAMPLE_BATCH, *shape, generator=torch.Generator().manual_seed(0))
    return images if weights is None else images.to(weights.device)


def _check_forward(model: nn.Module, example: Tensor) -> None:
    name, shape = type(model).__name__, tuple(example.shape)
    try:
        with torch.no_grad():
            logits = model(example)
    except Exception as error:
        raise EngineError(
            f"{name} does not run on float32 images of shape {shape} ({reason(error)}): check its input size and channels"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(example) or logits.dtype != torch.float32:
        got = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise EngineError(f"{name} must return one float32 tensor (batch, classes) to be exported, but returned {got}")


def _trace(model: nn.Module, example: Tensor, opset: int, batch: Optional[int]) -> onnx.ModelProto:
    """Torch's TorchScript exporter: the one that exists from torch 2.0 on and writes opsets below 18."""
    options: Dict[str, Any] = {
        "opset_version": opset,
        "input_names": [INPUT],
        "output_names": [OUTPUT],
        "dynamic_axes": {} if batch else {INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
        "do_constant_folding": True,
        "training": torch.onnx.TrainingMode.EVAL,
    }
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    buffer, ignored = io.BytesIO(), io.StringIO()
    try:
        # Torch 2.0 prints a banner, later versions warn of deprecations: neither helps the person who exports.
        with warnings.catch_warnings(), contextlib.redirect_stdout(ignored), contextlib.redirect_stderr(ignored):
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (example,), buffer, **options)  # type: ignore[arg-type,unused-ignore]
        return onnx.load_model_from_string(buffer.getvalue())
    except Exception as error:
        raise EngineError(
            f"{type(model).__name__} cannot be written as ONNX opset {opset} ({reason(error)}): "
            f"replace that operation in the model, or try an opset up to {OPSETS[-1]}"
        ) from error


def _check(exported: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The file with shapes inferred, once it is known to be valid and to take any batch size.

    Where the batch is open, the exporter writes ``batch`` on the output whatever the trace did, so the claim is dropped and
    inferred anew.
    """
    output = exported.graph.output[0].type.tensor_type
    claimed = output.shape.dim[0].dim_param
    output.shape.dim[0].Clear()
    try:
        onnx.checker.check_model(exported)
        inferred = onnx.shape_inference.infer_shapes(exported, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        raise EngineError(f"the ONNX file of {name} is not valid ({reason(error)}): change that part of the model") from error
    batch = inferred.graph.output[0].type.tensor_type.shape.dim[0]
    if claimed and batch.HasField("dim_value"):
        raise EngineError(
            f"{name} works for batches of {batch.dim_value} only once exported: "
            "replace sizes turned into Python numbers, as in view(int(x.shape[0]), -1), by flatten(1)"
        )
    if claimed:
        batch.dim_param = claimed
    return inferred
