"""A network as a folder in the form of Hugging Face's hub: config.json, model.safetensors, and README.md, its model card.

The header of model.safetensors says all that config.json does. config.json is what people and other tools read and edit: where it
is there, it counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Mapping

from gearnn import __version__
from gearnn.engine.errors import reason
from gearnn.engine.files import write_bytes
from gearnn.errors import UserError
from gearnn.files import read_json, write_json, write_text
from gearnn.model_card import model_card
from gearnn.network import Card, load_network
from gearnn.run_facts import check_finished, check_result

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
_TYPE = "gearnn"
_USE = """```python
import gearnn

network, classes, preprocessing = loaded = gearnn.load("THIS_FOLDER")  # pip install '.[train]' in GEARnn's repository
loaded.predict(["picture.jpg"], topk=3)
```"""


def write_huggingface(run: Path, out: Path) -> Dict[str, Any]:
    """Write the final network of a finished run; an older one of this form in ``out`` is replaced, what else is there stays.

    Returns:
        JSON-ready: "folder", "files".

    Raises:
        UserError: if the run is not finished or damaged, ``out`` holds something else, or it cannot be written.
    """
    check_finished(run)
    result = read_json(run / "result.json")
    check_result(result, run / "result.json")
    _, card = load_network(run / WEIGHTS)  # so that nothing damaged is handed on
    text = _readme(run, result, (run / WEIGHTS).stat().st_size)
    if any((out / name).exists() for name in (CONFIG, WEIGHTS, README)) and not is_huggingface(out):
        raise UserError(f"{out} holds something else already: choose another --out, or remove it")
    write_bytes(out / WEIGHTS, (run / WEIGHTS).read_bytes())
    write_text(out / README, text)
    write_json(out / CONFIG, _config(card))
    return {"folder": str(out), "files": [CONFIG, WEIGHTS, README]}


def is_huggingface(folder: Path) -> bool:
    """Whether a folder has a config.json of this form; raises UserError if that is not JSON."""
    found = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    return isinstance(found, dict) and found.get("model_type") == _TYPE


def read_card(path: Path) -> Card:
    """What a network is, out of a config.json.

    Raises:
        UserError: if it does not say.
    """
    found = read_json(path)
    try:
        labels = found["id2label"]
        card = Card(
            arch=found["architectures"][0],
            widths=tuple(found["widths"]),
            classes=tuple(labels[str(index)] for index in range(len(labels))),
            mean=tuple(found["image_mean"]),
            std=tuple(found["image_std"]),
            image_size=found["image_size"],
            in_chans=found["num_channels"],
            standardize=found.get("standardize", False),
        )
        card.check()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else reason(error)
        raise UserError(f"{path} does not describe a network of gearnn ({what}): download or export it again") from error
    return card


def _config(card: Card) -> Dict[str, Any]:
    """Hugging Face's names where it has any."""
    return {
        "model_type": _TYPE,
        "architectures": [card.arch],
        "gearnn_version": __version__,
        "widths": list(card.widths),
        "standardize": card.standardize,
        "num_channels": card.in_chans,
        "image_size": card.image_size,
        "image_mean": list(card.mean),
        "image_std": list(card.std),
        "num_labels": len(card.classes),
        "id2label": {str(index): label for index, label in enumerate(card.classes)},
        "label2id": {label: index for index, label in enumerate(card.classes)},
        "torch_dtype": "float32",
    }


def _readme(run: Path, result: Mapping[str, Any], size: int) -> str:
    """The model card with the front matter that the hub reads."""
    try:
        engine, device = result["engine"], result["device"]
        problem = engine.get("disagreement")
        facts = {
            "clean": engine["clean_accuracy"], "robust": engine["robust_accuracy"], "latency_ms_p50": engine["latency_ms_p50"],
            "bytes": size, "n": result["dataset"]["n_test"], "runtime": engine["runtime"], "version": engine["version"],
            "ready": not problem, "reason": problem or "",
        }  # fmt: skip
        conditions = {"versions": result["versions"], "device": device, "threads": engine["threads"]}
        body = model_card(result, {"fp32": facts}, "fp32", conditions, use=_USE)
        return _front_matter(run.resolve().name, result, facts) + body
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{run / 'result.json'} lacks figures that a model card holds ({reason(error)}): finish the run with --resume"
        ) from error


def _front_matter(name: str, result: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """YAML, in which a string in JSON is a string."""
    data = result["dataset"]
    metrics = (("clean accuracy", facts["clean"]), ("robust accuracy, mean over generated corruptions", facts["robust"]))
    lines = [
        "---",
        f"library_name: {_TYPE}",
        "pipeline_tag: image-classification",
        f"tags: [{_TYPE}, image-classification, robustness]",
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task: {type: image-classification}",
        f"    dataset: {{name: {json.dumps(data['name'])}, type: {json.dumps(data['name'])}, split: test}}",
        "    metrics:",
        *(f"    - {{type: accuracy, name: {json.dumps(label)}, value: {float(value)}}}" for label, value in metrics),
        "---",
        "",
        "",
    ]
    return "\n".join(lines)
