"""The model card of a bundle: what the network is for, how good it is, and where that was measured. Markdown."""

from __future__ import annotations

from typing import Any, List, Mapping

from gearnn.quantities import number_of

_MANY = 20  # classes are listed up to so many
_USE = """```sh
pip install .  # in GEARnn's repository, without extras: torch is not needed
gearnn predict THIS_FOLDER picture.jpg --topk 3
gearnn build THIS_FOLDER  # on an NVIDIA device: makes a TensorRT engine, which predict then uses
```"""


def model_card(
    result: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, Any]],
    default: str,
    conditions: Mapping[str, Any],
    use: str = _USE,
) -> str:
    """Text of a card.

    Args:
        result: contents of the run's result.json.
        facts: of each precision: "clean", "robust", "ready", "reason", "latency_ms_p50", "bytes", "n", "runtime", "version".
        default: precision used unless told otherwise.
        conditions: "versions", "device", "threads" and "seed" that the figures were measured with.
        use: how the network is used, in Markdown.
    """
    size, data, classes = result["image_size"], result["dataset"], result["classes"]
    colour = "RGB" if result["in_chans"] == 3 else "grey"
    shown = ", ".join(map(_plain, classes[:_MANY])) + (", …" if len(classes) > _MANY else "")
    first, grown = next(iter(facts.values())), result["method"] != "fixed"
    story = "it was trained at this size, without growth, on one device"
    if grown:
        story = f"a network of {result['params_seed']:,} parameters was trained, grown, and made robust by ERA, all on one device"
    table = [
        "| precision | clean | robust | p50 at batch 1 | file | ready |",
        "|---|---|---|---|---|---|",
        *(_row(name, entry, name == default) for name, entry in facts.items()),
    ]
    parts: List[str] = [
        f"# {_plain(result['arch'])}, {result['params_final']:,} parameters, {'grown' if grown else 'trained'} by GEARnn",
        f"Tells {len(classes)} classes apart in {colour} images of {size}×{size} pixels: {shown}.",
        "## Figures",
        "\n".join(table),
        f"Accuracies on {first['n']:,} held-out images, on {first['runtime']} {first['version']}; robust is the mean over "
        "generated corruptions with CIFAR-10-C's parameters. Latency on "
        f"{_plain(conditions['device']['name'])} with {number_of(conditions['threads'], 'thread')}: another device has another. "
        f"The precision used unless told otherwise is **{default}**.",
        "\n".join(
            [f"- {name} is not ready: {_plain(str(entry['reason']))}." for name, entry in facts.items() if not entry["ready"]]
            + [f"- {name}: {_plain(str(entry['note']))}." for name, entry in facts.items() if entry.get("note")]
        ),
        "## Data",
        f"Trained on {data['n_train']:,} images of {_plain(data['name'])}{_source(data['source'])}, tested on others of it. "
        + " ".join(f"{_plain(note)}." for note in data["notes"]),
        "## Training",
        f"Method {_plain(result['method'])}, preset {_plain(result['preset'])}, seed {result['seed']}: {story}.",
        "## Limits",
        "The network names one of its classes for every picture, also for one that shows none of them. It was not examined for "
        "fairness between groups of people, or for adversarial pictures; corruptions other than those measured may do more harm.",
        "## Use",
        use,
        "Versions: " + ", ".join(f"{name} {version}" for name, version in conditions["versions"].items()) + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _source(told: str) -> str:
    """What the data is; not where it lies on the device that trained, which is nobody else's business."""
    kind = told if "/" not in told else told.rpartition(" in ")[0].rstrip(",")
    return f" ({_plain(kind)})" if kind and "/" not in kind.replace("train/", "").replace("test/", "") else ""


def _row(name: str, entry: Mapping[str, Any], default: bool) -> str:
    figures = f"{entry['clean']:.1%} | {entry['robust']:.1%} | {entry['latency_ms_p50']:.3f} ms | {entry['bytes'] / 1e6:.2f} MB"
    return f"| {name}{' (default)' if default else ''} | {figures} | {'yes' if entry['ready'] else 'no'} |"


def _plain(text: str) -> str:
    """Names come from folders: nothing in them may start a tag, a link, a picture, a table cell or a new line."""
    for sign, other in (("<", "‹"), (">", "›"), ("|", "¦"), ("`", "'"), ("[", "⟦"), ("]", "⟧")):
        text = text.replace(sign, other)
    return " ".join(text.split())
