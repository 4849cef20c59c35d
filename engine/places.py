"""What a path stands for: a run folder for the network in it; and what is missing where there is none."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Optional, Union

from gearnn.engine.errors import EngineError


def network_at(path: Union[str, Path], takes: str = "a run folder, an .onnx file or an engine") -> Path:
    """The ONNX file or engine that a path stands for: of a folder its model.onnx.

    Args:
        takes: what may be given, for the message.

    Raises:
        EngineError: if nothing is there, a run that is not finished, a folder without a network, or a bundle that is packed.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip":
        if path.is_file():
            raise EngineError(f"{path} is packed: give {takes}; of a bundle, unzip it and give the model.onnx in it")
        raise EngineError(f"there is no {path}: check the path, or make a bundle with gearnn bundle RUN --out {path}")
    if not path.exists():
        raise EngineError(f"there is no {path}: give {takes}")
    if not path.is_dir():
        return path
    model = path / "model.onnx"
    if not model.exists():
        raise EngineError(unfinished(path) or f"there is no network in {path}, as it holds no {model.name}: give {takes}")
    return model


def unfinished(folder: Path) -> Optional[str]:
    """One sentence on a folder of a run that has not come to its end; None for any other."""
    if (folder / "result.json").exists() or not all((folder / name).exists() for name in ("config.json", "checkpoint")):
        return None
    named = shlex.quote(str(folder))
    return f"the run in {folder} is not finished: see gearnn watch {named}; if it has stopped, gearnn run --resume --out {named}"
