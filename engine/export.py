"""From a torch network to an ONNX file that TensorRT 8.5 and later, and ONNX Runtime, read."""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple

from gearnn.engine.errors import EngineError

if TYPE_CHECKING:
    from torch import nn

INPUT, OUTPUT = "images", "logits"
OPSETS = range(13, 18)


def export_onnx(
    model: nn.Module,
    example_shape: Tuple[int, int, int],
    path: Path,
    *,
    opset: int = 13,
    metadata: Optional[Mapping[str, str]] = None,
) -> Path:
    """Write ``model``, in eval mode, as ONNX; the batch size is free.

    Args:
        model: maps float32 images (B, C, H, W) to logits (B, K).
        example_shape: (C, H, W).
        path: the file to write, whole or not at all.
        opset: 13 to 17. TensorRT 8.5 surely reads 13.
        metadata: strings kept in the file's metadata properties.

    Returns:
        ``path``.

    Raises:
        EngineError: for an opset out of range, or a network that cannot be traced or exported.
    """
    import onnx
    import torch

    if opset not in OPSETS:
        raise EngineError(f"opset {opset} is not supported: choose {OPSETS[0]} to {OPSETS[-1]} (TensorRT 8.5 surely reads 13)")
    was_training = model.training
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # Two images: with one, the tracer could take the batch size for a constant.
    example = torch.rand(2, *example_shape, device=device)
    # Newer exporters default to one whose opset is too new for TensorRT 8.5; older ones do not know the option.
    choice: Dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    handle, name = _temporary(path)
    os.close(handle)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                (example,),
                name,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
                **choice,
            )
        proto = onnx.load(name)
        for key, value in (metadata or {}).items():
            proto.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(proto)
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        onnx.save(proto, name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise EngineError(f"cannot write {path} ({error.strerror or error}): choose another place") from error
    except Exception as error:  # exporters and checkers raise many types of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(f"this network cannot be exported to ONNX opset {opset} ({reason}): simplify its forward") from error
    finally:
        model.train(was_training)
        Path(name).unlink(missing_ok=True)
    return path


def _temporary(path: Path) -> Tuple[int, str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    except OSError as error:
        raise EngineError(f"cannot write {path} ({error.strerror or error}): choose another place") from error
