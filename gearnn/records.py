"""What is recorded of epochs and phases."""

from __future__ import annotations

from typing import Any, Dict, Optional, Union

from gearnn.metering import metered
from gearnn.phases import Phase
from gearnn.training import EpochResult


def epoch_row(phase: str, epoch: int, epochs: Optional[int], result: EpochResult, test_accuracy: float) -> Dict[str, Any]:
    """A row of metrics.jsonl; ``epoch`` counts from 1, ``epochs`` is None where the clock decides."""
    return {
        "phase": phase,
        "epoch": epoch,
        "epochs": epochs,
        "loss": result.loss,
        "train_accuracy": result.accuracy,
        "test_accuracy": test_accuracy,
        "learning_rate": result.learning_rate,
        "seconds": result.seconds,
        "images_per_s": result.images / result.seconds,
    }


def phase_record(phase: Phase, epochs: Union[int, float], spent: Dict[str, float]) -> Dict[str, Any]:
    """What result.json tells of a phase that took ``spent`` (seconds, images, and what `gearnn.metering` found)."""
    return {
        "name": phase.name,
        "kind": "grow" if phase.kind == "grow" else "train",
        "keeps": phase.keeps,
        "views": phase.views,
        "epochs": epochs,
        "seconds": spent["seconds"],
        "images": spent["images"],
        "images_per_s": spent["images"] / spent["seconds"],
        **metered(spent),
    }
