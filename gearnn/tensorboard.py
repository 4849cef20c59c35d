"""A run's metrics as TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

from gearnn.errors import UserError
from gearnn.report.record import number

_SUFFIX = ".gearnn"
_TAGS = {
    "loss": "loss",
    "train_accuracy": "accuracy/train",
    "test_accuracy": "accuracy/test",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
}


def write_events(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows of a metrics.jsonl anew, in place of what was written here before; a step is an epoch of the whole run.

    So a run that was resumed, or went back an epoch, has one curve.

    Raises:
        UserError: if TensorBoard is not installed, or the folder cannot be written to.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(f"--tensorboard needs a package ({error.name}): pip install 'gearnn[train,tensorboard]'") from error
    try:
        before = list(folder.glob(f"events.out.tfevents.*{_SUFFIX}"))
        with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as writer:
            for step, row in enumerate(rows, 1):
                for name, tag in _TAGS.items():
                    value = number(row.get(name))
                    if value is not None:
                        writer.add_scalar(tag, value, step)
        for path in before:
            path.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}): choose another --tensorboard") from error
