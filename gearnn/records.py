"""What is recorded of epochs, phases and the whole run."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
from torch import nn

from gearnn import __version__
from gearnn.checkpoint import Progression
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.engine.environment import environment
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


def phase_line(phase: Phase, metrics: Sequence[Mapping[str, Any]], count: int, model: nn.Module) -> str:
    """What a phase came to, for people: ``metrics`` are the rows so far, ``count`` the test images, ``model`` the network now."""
    if phase.kind == "grow":
        return f"{phase.name}: the network now has {sum(weight.numel() for weight in model.parameters()):,} parameters"
    accuracy, epochs = metrics[-1]["test_accuracy"], metrics[-1]["epoch"]
    return (
        f"{phase.name}: right on {accuracy:.1%} of {count:,} clean test images after {epochs} epoch{'s' if epochs != 1 else ''}"
    )


def per_class(labels: np.ndarray, named: np.ndarray, classes: Sequence[str]) -> List[Dict[str, Any]]:
    """What a network named for the images of each class: the confusion matrix, without its zeros.

    Args:
        labels, named: integers (N,), the class that an image has and the one that was named for it.

    Returns:
        Per class: "class", "images", "right", and "named": how often each class was named, the most frequent first.
    """
    rows = []
    for place, name in enumerate(classes):
        counts = np.bincount(named[labels == place], minlength=len(classes))
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda other: -counts[other])
        said = {classes[other]: int(counts[other]) for other in order}
        rows.append({"class": name, "images": int(counts.sum()), "right": int(counts[place]), "named": said})
    return rows


def outcome(networks: List[Dict[str, Any]], last: str, engine: Dict[str, Any]) -> Dict[str, Any]:
    """The final network's figures on the engine, class by class as well, and what it grew from."""
    classes = {network["name"]: network.get("per_class") for network in networks}
    networks = [{key: found for key, found in network.items() if key != "per_class"} for network in networks]
    seed, final = networks[0], next(network for network in networks if network["name"] == last)
    accuracies = {name: final[name] for name in ("clean_accuracy", "robust_accuracy")}
    deployed = {name: final[name] for name in ("comparison", "disagreement", "onnx_bytes", "opset")}
    return {
        **accuracies,
        "engine": {**engine, **accuracies, **deployed},
        "per_class": classes[last],
        "networks": networks,
        "params_seed": seed["params"],
        "params_final": final["params"],
        "widths_seed": seed["widths"],
        "widths_final": final["widths"],
    }


def provenance(dataset: Dataset) -> Dict[str, Any]:
    """Where the images came from, and how many there are."""
    return {
        "name": dataset.name,
        "source": dataset.source,
        "n_train": len(dataset.train.labels),
        "n_test": len(dataset.test.labels),
        "notes": list(dataset.notes),
    }


def conditions(threads: int, device: str, processes: int) -> Dict[str, Any]:
    """Under which a result came about."""
    facts = environment()
    several = {"training_processes": processes} if processes > 1 else {}
    return {
        "versions": {"gearnn": __version__, **facts["versions"]},
        "device": {**facts["device"], "threads": threads, "training_device": device, **several},
    }


def growth_summary(config: RunConfig, progression: Progression) -> Dict[str, Any]:
    """What is stored in the network's own file: how it came to its widths."""
    growth = progression.growth
    limits = {usage["name"]: usage["limit"] for usage in growth.get("budget", [])}
    layers = {layer["name"]: [layer["before"], layer["after"]] for layer in growth.get("layers", [])}
    return {
        "method": config.method,
        "grower": config.grower,
        "budget": limits,
        "bound_by": growth.get("bound_by"),
        "layers": layers,
    }
